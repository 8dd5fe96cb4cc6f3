"""How every page answers: the whole body at once, typed, never cached, never sniffed; nothing in HTML."""

from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import FORBIDDEN, INTERNAL_SERVER_ERROR, NOT_ALLOWED, NOT_FOUND
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json"


def answer(request: Request, status: int, body: bytes, content_type: bytes = TEXT) -> int:
    """Send a response and end it; HEAD gets the same without the body (RFC 9110 §9.3.2)."""
    request.setResponseCode(status)
    for name, value in (
        (b"server", b"mtad"),
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ):
        request.setHeader(name, value)
    request.write(body)
    request.finish()
    return NOT_DONE_YET


@dataclass(frozen=True, slots=True)
class Content:
    """What a page answers with."""

    status: int
    body: bytes
    content_type: bytes = TEXT


_log = Logger()
_TROUBLE = Content(INTERNAL_SERVER_ERROR, b"internal trouble, see the log\n")


def answer_later(request: Request, content: "Deferred[Content]") -> int:
    """Send a response once it is there, to whoever still waits for it; a surprise is logged and not shown."""
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)

    def surprised(failure: Failure) -> Content:
        _log.failure("a page could not be made", failure)
        return _TROUBLE

    def send(page: Content) -> None:
        if not gone:
            answer(request, page.status, page.body, page.content_type)

    content.addErrback(surprised).addCallback(send)
    return NOT_DONE_YET


class Page(Resource):
    """A page without pages below it."""

    isLeaf = False

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Return the refusal of what is not there."""
        return MISSING

    def render(self, request: Request) -> int:
        """Answer GET and HEAD alike; anything else gets 405 with Allow (RFC 9110 §15.5.6)."""
        if request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"allow", b"GET, HEAD")
            return answer(request, NOT_ALLOWED, b"only GET and HEAD\n")
        return self.show(request)

    def show(self, request: Request) -> int:
        """Answer a request that may be answered."""
        return answer(request, NOT_FOUND, b"not found\n")


class Refusal(Resource):
    """Says one thing to everybody, whatever is asked."""

    isLeaf = True

    def __init__(self, status: int, text: bytes) -> None:
        super().__init__()
        self._status = status
        self._text = text

    def render(self, request: Request) -> int:
        """Refuse."""
        return answer(request, self._status, self._text)


MISSING = Page()
OUTSIDER = Refusal(FORBIDDEN, b"forbidden\n")
