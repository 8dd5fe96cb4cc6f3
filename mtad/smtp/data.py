"""The content between 354 and the dot: dot-unstuffed in bulk, ended by `CRLF . CRLF` and by nothing else.

Every other sequence that looks like an end (a lone CR or LF on either side of the dot, a NUL before it) is content,
and makes the message refused (`mtad.smtp.soundness`). After such a problem reading goes on to the true end (RFC 5321
§4.1.1.4), so that nothing of the message is ever taken for a command.

What is found does not depend on how the octets were cut into pieces. Work is a few scans of each piece in C, never a
loop over lines. Nothing is kept but the at most four octets that may be the beginning of an end.
"""

from mtad.smtp.soundness import Soundness

_DOT = b"\r\n."
_END = b"\r\n.\r\n"
_BEGINNINGS = tuple(_END[:length] for length in range(len(_END) - 1, 0, -1))


class DataDecoder:
    """Reads one message's content of at most `max_octets`, counted after unstuffing (RFC 1870 §4).

    Once `finished`, `rest` is what followed the end; `soundness` tells what is wrong with it.
    """

    def __init__(self, max_octets: int) -> None:
        # The content follows a line's end, so a dot at its very start is stuffed, or ends it (RFC 5321 §4.5.2).
        self._held = b"\r\n"
        self._borrowed = len(self._held)
        self.soundness = Soundness(max_octets)
        self.finished = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """Take octets off the wire and return the content they complete; empty once there is a problem."""
        if not data:
            return b""
        if self.finished:
            self.rest += data
            return b""
        data = self._held + data
        # Most pieces have no dot at the beginning of a line: then there is no end in them, and nothing is doubled.
        first_dot = data.find(_DOT)
        return self._decode(self._complete(data, first_dot), first_dot)

    def _complete(self, data: bytes, first_dot: int) -> bytes:
        """Return the octets that cannot be part of an end still to come; hold back those that can."""
        end = data.find(_END, first_dot) if first_dot >= 0 else -1
        if end >= 0:
            self.finished = True
            self._held = b""
            self.rest = data[end + len(_END) :]
            return data[: end + 2]
        held = next((len(beginning) for beginning in _BEGINNINGS if data.endswith(beginning)), 0)
        split = len(data) - held
        self._held = data[split:]
        return data[:split]

    def _decode(self, stuffed: bytes, first_dot: int) -> bytes:
        doubled = 0 <= first_dot <= len(stuffed) - len(_DOT)
        content = stuffed.replace(_DOT, b"\r\n") if doubled else stuffed
        if self._borrowed and content:
            content = content[self._borrowed :]
            self._borrowed = 0
        # No piece ends between the CR and the LF of a line's end: a CR at the end of a piece was held back.
        self.soundness.watch(content)
        return b"" if self.soundness.problem else content
