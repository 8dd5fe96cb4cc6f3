"""Content that comes in chunks announced by BDAT (RFC 3030 §2): octets are counted, nothing in them ends anything.

A chunk may end anywhere, also between a CR and its LF, and dots are not doubled. RFC 3030 does not ask for a line end
at the end of a message, but everybody it goes to by DATA will see one, so it is added where it is missing. A message
must be as sound as one that came by DATA (`mtad.smtp.soundness`).

The octets of a chunk that was refused come all the same, as BDAT does not wait for its answer: they are dropped, and
then the answer is given.
"""

import re
from dataclasses import dataclass

from mtad.model import replies
from mtad.model.reply import Reply
from mtad.smtp.soundness import Soundness

FAR_TOO_LARGE_FACTOR = 2
"""A chunk this many times over the limit of a message is not even waited for."""

# bdat-cmd = "BDAT" SP chunk-size [ SP end-marker ] CR LF ; chunk-size = 1*DIGIT ; end-marker = "LAST"
_ARGUMENT = re.compile(rb"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Chunk:
    """BDAT: so many octets of the message follow, up to its end when it is the `last` of them."""

    octets: int
    last: bool


@dataclass(slots=True)
class Coming:
    """What is still to come of a chunk; with a `refusal` it is dropped, and that is its answer."""

    octets: int
    last: bool
    refusal: Reply | None = None


def parse(argument: bytes) -> Chunk | Reply:
    """Read BDAT's argument; the reply to one that cannot be read closes: what follows may be content or commands."""
    match = _ARGUMENT.fullmatch(argument)
    return Chunk(int(match[1]), match[2] is not None) if match else replies.CHUNK_UNREADABLE


class ChunkDecoder:
    """Reads one message of at most `max_octets` from its chunks; `soundness` tells what is wrong with it."""

    def __init__(self, max_octets: int) -> None:
        self.soundness = Soundness(max_octets)
        self._held = b""
        self._ended = True

    def feed(self, data: bytes) -> bytes:
        """Take octets of a chunk and return the content they complete; empty once there is a problem."""
        if not data:
            return b""
        data = self._held + data
        # The LF of this CR may come with the next octets, or with the next chunk.
        self._held = data[-1:] if data.endswith(b"\r") else b""
        return self._watched(data[: len(data) - len(self._held)])

    def end(self) -> bytes:
        """Say that the message is complete; return what is still missing of its content."""
        held, self._held = self._held, b""
        missing = b"" if self._ended or held else b"\r\n"
        self._ended = True
        return self._watched(held + missing)

    def _watched(self, content: bytes) -> bytes:
        if content:
            self._ended = content.endswith(b"\n")
            self.soundness.watch(content)
        return b"" if self.soundness.problem else content
