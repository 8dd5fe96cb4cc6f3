"""What must be so of every message, however it comes: its size, its line ends, the length of its lines.

A CR or LF never stands alone: what one server takes for the end of a line and the next does not lets a peer smuggle a
second message (RFC 5321 §2.3.8). There is no NUL, which mail has not had for long (RFC 5322 §4). Lines over
TEXT_LINE_OCTETS are taken all the same, and told of (RFC 5321 §4.5.3.1.6); those over MAX_LINE_OCTETS are not.

Content is counted as it passes, a few scans of each piece in C; nothing of it is kept.
"""

from mtad.model import replies
from mtad.model.reply import Reply

TEXT_LINE_OCTETS = 998
"""The longest line a message should have, without its CRLF (RFC 5321 §4.5.3.1.6)."""

MAX_LINE_OCTETS = 64 * 1024
"""The longest line that is taken, without its CRLF."""


_NEAR_OCTETS = TEXT_LINE_OCTETS + len(b"\r\n")


class Soundness:
    """Watches one message of at most `max_octets`. No piece of it may end between a CR and its LF.

    `problem` is why the message cannot be taken, of what was seen so far, the worst first; None while it is sound.
    `longest_line` is the length in octets of its longest line over TEXT_LINE_OCTETS, 0 without any.
    """

    __slots__ = ("_max_octets", "_octets", "_open_octets", "longest_line", "problem")

    def __init__(self, max_octets: int) -> None:
        self.problem: Reply | None = None
        self.longest_line = 0
        self._max_octets = max_octets
        self._octets = 0
        self._open_octets = 0

    def watch(self, content: bytes) -> None:
        """Take the next piece."""
        self._octets += len(content)
        if self.problem is replies.BARE_NEWLINE:
            return
        ends = content.count(b"\r\n")
        if content.count(b"\n") != ends or content.count(b"\r") != ends:
            self.problem = replies.BARE_NEWLINE
        elif self.problem is not replies.NUL_OCTET:
            self._measure(content)
            self.problem = self._judge(content)

    def _judge(self, content: bytes) -> Reply | None:
        if b"\0" in content:
            return replies.NUL_OCTET
        if self._octets > self._max_octets:
            return replies.TOO_LARGE
        return replies.LINE_OVER_LIMIT if self.longest_line > MAX_LINE_OCTETS else None

    def _measure(self, content: bytes) -> None:
        """Find lines over TEXT_LINE_OCTETS, with a look at every line only where they are that long."""
        before, last = self._open_octets, content.rfind(b"\n")
        self._open_octets = len(content) - last - 1 + (before if last < 0 else 0)
        if before + len(content) > _NEAR_OCTETS:
            start = content.find(b"\n") + 1
            self._tell(before + (start - 2 if start else len(content)))
            if start:
                self._leap(content, start)

    def _leap(self, content: bytes, start: int) -> None:
        """Go from the beginning of a line to that of another, as far as one can without passing a long line."""
        while start < len(content) - TEXT_LINE_OCTETS:
            newline = content.rfind(b"\n", start, start + _NEAR_OCTETS)
            if newline < 0:
                newline = content.find(b"\n", start + _NEAR_OCTETS)
                self._tell((len(content) if newline < 0 else newline - 1) - start)
                if newline < 0:
                    return
            start = newline + 1

    def _tell(self, octets: int) -> None:
        if octets > max(TEXT_LINE_OCTETS, self.longest_line):
            self.longest_line = octets
