"""Octets that arrived and are not read yet, and the command lines taken from them.

Only CRLF ends a line (RFC 5321 §2.3.8). A line is fit to be executed when it begins after a CRLF, or where the session
does, ends in CRLF, and has no CR or LF between. So what follows a bare LF is refused as well: a peer that let a bare
LF into an argument cannot be made to send us a command of its own. Each LF gets its answer at once, though, or a peer
that ends all its lines with LF would wait for us until it gives up.
"""

from dataclasses import dataclass

from mtad.model import replies
from mtad.model.reply import Reply

LINE_OCTETS = 2048
"""The longest command line, CRLF included: 512 (RFC 5321 §4.5.3.1.4) and room for what extensions add."""

_VERB_OCTETS = 16


@dataclass(frozen=True, slots=True)
class Overlong:
    """A line that is too long to be taken: how it `begins`, which is enough to tell the verb."""

    begins: bytes


class Arrived:
    """A buffer that is read from the front; `len` is what it holds. Its bound is the caller's: it stops feeding."""

    def __init__(self) -> None:
        self._octets = b""
        self._position = 0
        self._overlong = False
        self._after_crlf = True

    def __len__(self) -> int:
        return len(self._octets) - self._position

    def add(self, data: bytes) -> None:
        """Append what arrived."""
        self._octets = self._octets[self._position :] + data
        self._position = 0

    def line(self, most_octets: int = LINE_OCTETS) -> bytes | Overlong | Reply | None:
        """Return the next command line without CRLF, the reply to one that is not fit, or None: more must arrive.

        Of a line over `most_octets` is told once, as soon as that is known; its rest is dropped as it arrives.
        """
        start = self._position
        end = self._octets.find(b"\n", start) + 1
        if not end:
            return self._unfinished(most_octets)
        self._position = end
        line = self._octets[start:end]
        follows_crlf, self._after_crlf = self._after_crlf, line.endswith(b"\r\n")
        if self._overlong:
            self._overlong = False
            return self.line(most_octets)
        if len(line) > most_octets:
            return Overlong(line[:_VERB_OCTETS])
        if not follows_crlf or line.find(b"\r") != len(line) - 2:
            return replies.SYNTAX_ERROR
        return line[:-2]

    def _unfinished(self, most_octets: int) -> Overlong | None:
        # What was read is let go of: a peer may now be silent for long.
        self._octets = self._octets[self._position :]
        self._position = 0
        told = self._overlong
        if not told and len(self._octets) < most_octets:
            return None
        self._overlong = True
        found = None if told else Overlong(self._octets[:_VERB_OCTETS])
        # The last octet may be the CR of the line's end.
        self._octets = self._octets[-1:]
        return found

    def take(self) -> bytes:
        """Remove and return everything."""
        octets, self._octets = self._octets[self._position :], b""
        self._position = 0
        return octets

    def take_at_most(self, most_octets: int) -> bytes:
        """Remove and return as much as is there, up to so many octets."""
        if len(self) <= most_octets:
            return self.take()
        octets = self._octets[self._position : self._position + most_octets]
        self._position += most_octets
        return octets
