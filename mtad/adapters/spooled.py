"""Content in a file that has no name: read block by block, gone with its last reader.

Any number of readers share the file's descriptor, in threads and in processes it was passed to, so nobody moves its
position: all reads say where. It imports nothing large, because the process behind `mtad.adapters.offload` does.
"""

import os
from collections.abc import Callable, Iterator
from weakref import finalize

from mtad.model.content import BLOCK_OCTETS
from mtad.model.errors import Unavailable


class Descriptor:
    """A file's descriptor, which is closed when nobody refers to this any more; `closed` hears of it."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int, closed: Callable[[], None] | None = None) -> None:
        self.number = number
        finalize(self, _close, number, closed).atexit = False


def _close(number: int, closed: Callable[[], None] | None) -> None:
    os.close(number)
    if closed is not None:
        closed()


class SpooledFile:
    """The octets of a file from `start` to `end`, with `head` before them (`mtad.model.content.Spooled`)."""

    __slots__ = ("_descriptor", "_end", "_head", "_start")

    def __init__(self, descriptor: Descriptor, end: int, start: int = 0, head: bytes = b"") -> None:
        self._descriptor = descriptor
        self._end = end
        self._start = start
        self._head = head

    def __len__(self) -> int:
        """Return how many octets it has."""
        return len(self._head) + self._end - self._start

    def begin(self, octets: int) -> bytes:
        """Return its first octets, that many at most."""
        return self._read(0, octets)

    def blocks(self, octets: int = BLOCK_OCTETS) -> Iterator[bytes]:
        """Yield all of it in blocks of that size."""
        for at in range(0, len(self), octets):
            yield self._read(at, octets)

    def behind(self, head: bytes, start: int = 0) -> "SpooledFile":
        """Return what follows the first `start` octets, with `head` before it."""
        beyond_head = max(0, start - len(self._head))
        file_start = min(self._start + beyond_head, self._end)
        return SpooledFile(self._descriptor, self._end, file_start, head + self._head[start:])

    def _read(self, at: int, octets: int) -> bytes:
        """Return up to that many octets from position `at` of the whole on."""
        head = self._head[at : at + octets]
        file_at = self._start + max(0, at - len(self._head))
        rest = self._read_file(file_at, min(octets - len(head), self._end - file_at))
        return head + rest if head else rest

    def _read_file(self, at: int, octets: int) -> bytes:
        pieces = []
        while octets > 0:
            try:
                piece = os.pread(self._descriptor.number, octets, at)
            except OSError as error:
                raise Unavailable("disk", f"the spool cannot be read: {error.strerror}") from error
            if not piece:
                raise Unavailable("disk", "a file of the spool ends too early")
            pieces.append(piece)
            at += len(piece)
            octets -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
