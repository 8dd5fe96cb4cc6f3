"""Replies of a server we speak to: octets in, whole replies out (RFC 5321 §4.2).

Lenient where servers differ (a line may end in a bare LF, have no text, or any octets for text; of a reply's codes the
last counts), strict where it matters: three digits, a class from 2 to 5, and a bound on lines and octets, because the
other side may be anybody. Knows nothing of which reply was asked for.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mtad.model.errors import MtadError
from mtad.model.text import SHOWN_CHARACTERS, shown

MAX_LINES = 512
MAX_OCTETS = 64 * 1024

# Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ \t-])(.*))?", re.DOTALL)
# RFC 3463 §2: class "." subject "." detail
_ENHANCED = re.compile(rb"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:[ \t]|\Z)")


class BadReply(MtadError):
    """What came is no reply, or none that belongs here; the text is fit to be shown. The connection is of no use."""


@dataclass(frozen=True, slots=True)
class PeerReply:
    """One reply as the server gave it; `lines` are its texts, without codes and line ends, otherwise untouched."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def status(self) -> str:
        """The enhanced status code (RFC 2034), by the class alone when there is none that fits the code."""
        for line in self.lines:
            match = _ENHANCED.match(line)
            if match and match[1][:1] == b"%d" % (self.code // 100):
                return match[1].decode("ascii")
        return f"{self.code // 100}.0.0"

    @property
    def text(self) -> str:
        """The reply on one line, bounded and fit to be shown."""
        return shown(b"%d %s" % (self.code, b" ".join(self.lines)[: SHOWN_CHARACTERS * 4]))


class ReplyReader:
    """Cuts what a server sends into replies. Once `feed` raised BadReply it is not to be fed again."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._searched = 0
        self._lines: list[bytes] = []
        self._octets = 0

    def feed(self, data: bytes) -> Iterator[PeerReply]:
        """Yield the replies that `data` completes; what came before a bad one is yielded before it is raised."""
        self._unread += data
        while (end := self._unread.find(b"\n", self._searched)) >= 0:
            line = bytes(self._unread[: end + 1])
            del self._unread[: end + 1]
            self._searched = 0
            if (reply := self._line(line)) is not None:
                yield reply
        self._searched = len(self._unread)
        if self._octets + len(self._unread) > MAX_OCTETS:
            raise BadReply(f"a reply of more than {MAX_OCTETS} octets")

    def _line(self, line: bytes) -> PeerReply | None:
        """Take one line, and return the reply it ends."""
        self._octets += len(line)
        if self._octets > MAX_OCTETS:
            raise BadReply(f"a reply of more than {MAX_OCTETS} octets")
        match = _LINE.fullmatch(line.removesuffix(b"\n").removesuffix(b"\r"))
        if match is None:
            raise BadReply(f"no reply: {shown(line.rstrip(), 100)}")
        self._lines.append(match[3] or b"")
        if match[2] == b"-":
            if len(self._lines) == MAX_LINES:
                raise BadReply(f"a reply of more than {MAX_LINES} lines")
            return None
        reply = PeerReply(int(match[1]), tuple(self._lines))
        self._lines = []
        self._octets = 0
        return reply
