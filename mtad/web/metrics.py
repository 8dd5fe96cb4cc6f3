"""`/metrics`: the exposition of the registry, made anew for each scrape.

With every label finite it is some hundred lines and half a millisecond (bench/journal.py), so nothing is cached and a
scrape sees what was counted a moment ago.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.web.http import OK
from twisted.web.server import Request

from mtad.web.answer import Content, Page, answer_later

# Prometheus' text exposition format.
EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"

Exposition = Callable[[], "bytes | Deferred[bytes]"]
"""Returns all metrics in that format, at once or when others have told theirs."""


class Metrics(Page):
    """What `exposition` returns."""

    def __init__(self, exposition: Exposition) -> None:
        super().__init__()
        self._exposition = exposition

    def show(self, request: Request) -> int:
        """Send all metrics."""
        asked: Deferred[None] = succeed(None)
        exposed = asked.addCallback(lambda _: self._exposition())
        return answer_later(request, exposed.addCallback(lambda body: Content(OK, body, EXPOSITION)))
