"""The content of messages as a session reads it: up to the dot (`mtad.smtp.data`), or chunk by chunk (`chunking`).

It tells where content ends and what ended there. When content may come, and what its end is answered, is not decided
here.
"""

from mtad.model.reply import Reply
from mtad.smtp.chunking import Chunk, ChunkDecoder, Coming
from mtad.smtp.data import DataDecoder
from mtad.smtp.lines import Arrived
from mtad.smtp.soundness import Soundness
from mtad.smtp.states import Command

Ended = Command | Reply
"""What came to its end: a message (END), a chunk of one (CHUNK), or a chunk that is refused, and by what reply."""


class Intake:
    """Reads the messages of a session, each of at most `max_octets`.

    While it is `expecting`, what arrives is content, or is to be dropped, and no command.
    """

    def __init__(self, max_octets: int) -> None:
        self.expecting = False
        self._max_octets = max_octets
        self._decoder: DataDecoder | ChunkDecoder = DataDecoder(max_octets)
        self._coming: Coming | None = None

    @property
    def soundness(self) -> Soundness:
        """What is wrong with the message that is coming in, or came last."""
        return self._decoder.soundness

    def expect_data(self) -> None:
        """Begin a message that the dot will end."""
        self._decoder = DataDecoder(self._max_octets)
        self.expecting = True

    def expect_chunk(self, chunk: Chunk, *, first: bool, refusal: Reply | None = None) -> None:
        """Go on with a message by a chunk, or begin one; of a chunk that is refused the octets are dropped."""
        if first:
            self._decoder = ChunkDecoder(self._max_octets)
        self._coming = Coming(chunk.octets, chunk.last, refusal)
        self.expecting = True

    def read(self, arrived: Arrived) -> bytes | Ended | None:
        """Return the next content, or what ended; None when more must arrive.

        A chunk that something is wrong with ends its message.
        """
        found = self._read_data(arrived) if self._coming is None else self._read_chunk(arrived, self._coming)
        if isinstance(found, Command | Reply):
            self._coming = None
            self.expecting = False
        return found

    def _read_data(self, arrived: Arrived) -> bytes | Ended | None:
        decoder = self._decoder
        assert isinstance(decoder, DataDecoder)
        content = decoder.feed(arrived.take())
        if content or not decoder.finished:
            return content or None
        rest, decoder.rest = decoder.rest, b""
        arrived.add(rest)
        return Command.END

    def _read_chunk(self, arrived: Arrived, coming: Coming) -> bytes | Ended | None:
        octets = arrived.take_at_most(coming.octets)
        coming.octets -= len(octets)
        content = b"" if coming.refusal else self._decoded(octets, complete=coming.last and not coming.octets)
        if content or coming.octets:
            return content or None
        if coming.refusal is not None:
            return coming.refusal
        return Command.END if coming.last or self.soundness.problem else Command.CHUNK

    def _decoded(self, octets: bytes, *, complete: bool) -> bytes:
        decoder = self._decoder
        assert isinstance(decoder, ChunkDecoder)
        content = decoder.feed(octets)
        return content + decoder.end() if complete else content
