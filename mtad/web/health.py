"""`/health`: whether the process turns. It asks nobody: a database that is away is no reason to restart a server."""

from twisted.web.http import OK
from twisted.web.server import Request

from mtad.web.answer import Page, answer


class Health(Page):
    """200 as long as anything is answered at all."""

    def show(self, request: Request) -> int:
        """Say so."""
        return answer(request, OK, b"ok\n")
