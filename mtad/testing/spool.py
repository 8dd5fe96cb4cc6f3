"""The spool's twin: large contents in memory all the same, and a disk that is full or broken when told.

With `kept_octets` of a few a test sees what happens to a large content without having one.
"""

from collections.abc import Iterator

from zope.interface import implementer

from mtad.interfaces import IGathering, ISpool
from mtad.model.content import BLOCK_OCTETS, SPOOL_OCTETS, Content
from mtad.model.errors import Unavailable


@implementer(ISpool)
class MemorySpool:
    """Switches: `full`, nothing more can be written; `readable_octets`, nothing behind so many can be read.

    `room` is what its disk says it has room for.
    """

    def __init__(self, kept_octets: int = SPOOL_OCTETS) -> None:
        self.kept_octets = kept_octets
        self.full = False
        self.room = 1 << 40
        self.readable_octets: int | None = None

    def gather(self) -> IGathering:
        """See ISpool."""
        return MemoryGathering(self)

    def room_octets(self) -> int:
        """See ISpool."""
        return self.room


@implementer(IGathering)
class MemoryGathering:
    """One content on its way into a spool."""

    def __init__(self, spool: MemorySpool) -> None:
        self._spool = spool
        self._octets = bytearray()

    def in_memory(self) -> int:
        """See IGathering."""
        return len(self._octets) if len(self._octets) <= self._spool.kept_octets else 0

    def add(self, octets: bytes) -> None:
        """See IGathering."""
        self._octets += octets
        if self._spool.full and len(self._octets) > self._spool.kept_octets:
            raise Unavailable("disk", "the spool is full")

    def drop(self) -> None:
        """See IGathering."""
        self._octets.clear()

    def content(self) -> Content:
        """See IGathering."""
        octets = bytes(self._octets)
        self.drop()
        return octets if len(octets) <= self._spool.kept_octets else MemorySpooled(self._spool, octets)


class MemorySpooled:
    """A content in a MemorySpool (`mtad.model.content.Spooled`)."""

    def __init__(self, spool: MemorySpool, octets: bytes) -> None:
        self._spool = spool
        self._octets = octets

    def __len__(self) -> int:
        """Return how many octets it has."""
        return len(self._octets)

    def begin(self, octets: int) -> bytes:
        """Return its first octets, that many at most."""
        return self._read(0, octets)

    def blocks(self, octets: int = BLOCK_OCTETS) -> Iterator[bytes]:
        """Yield all of it in blocks of that size."""
        for at in range(0, len(self), octets):
            yield self._read(at, octets)

    def behind(self, head: bytes, start: int = 0) -> "MemorySpooled":
        """Return what follows the first `start` octets, with `head` before it."""
        return MemorySpooled(self._spool, head + self._octets[start:])

    def _read(self, at: int, octets: int) -> bytes:
        piece = self._octets[at : at + octets]
        readable = self._spool.readable_octets
        if readable is not None and at + len(piece) > readable:
            raise Unavailable("disk", "the spool cannot be read")
        return piece
