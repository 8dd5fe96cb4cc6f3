"""`/metrics`: the exposition of the registry, made anew for each scrape.

With every label finite it is some hundred lines and half a millisecond (bench/journal.py), so nothing is cached and a
scrape sees what was counted a moment ago.
"""

from collections.abc import Callable

from twisted.web.http import OK
from twisted.web.server import Request

from mtad.web.answer import Page, answer

# Prometheus' text exposition format.
EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"


class Metrics(Page):
    """What `exposition` returns."""

    def __init__(self, exposition: Callable[[], bytes]) -> None:
        super().__init__()
        self._exposition = exposition

    def show(self, request: Request) -> int:
        """Send all metrics."""
        return answer(request, OK, self._exposition(), EXPOSITION)
