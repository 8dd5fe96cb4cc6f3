"""A message's octets: whole in memory while they are few, otherwise somewhere they can be read from in blocks.

Small messages stay plain `bytes`, for which nothing here costs anything. What is larger than SPOOL_OCTETS never is in
memory as a whole; where it is instead its owner knows (`mtad.interfaces.ISpool`). Both are read by the same functions.
"""

from collections.abc import Iterator
from typing import Protocol

SPOOL_OCTETS = 1024 * 1024
"""From this size on content is not kept in memory."""

BLOCK_OCTETS = 64 * 1024


class Spooled(Protocol):
    """Content that is kept outside of memory. It never changes; it is gone once nobody refers to it any more.

    Whatever reads it raises Unavailable when it cannot be read.
    """

    def __len__(self) -> int:
        """Return how many octets it has."""

    def begin(self, octets: int) -> bytes:
        """Return its first octets, that many at most."""

    def blocks(self, octets: int = BLOCK_OCTETS) -> Iterator[bytes]:
        """Yield all of it in blocks of that size."""

    def behind(self, head: bytes, start: int = 0) -> "Spooled":
        """Return what follows the first `start` octets, with `head` before it; nothing is copied."""


Content = bytes | Spooled


def begin(content: Content, octets: int) -> bytes:
    """Return the first octets, that many at most."""
    return content[:octets] if isinstance(content, bytes) else content.begin(octets)


def blocks(content: Content, octets: int = BLOCK_OCTETS) -> Iterator[bytes]:
    """Yield all of it in blocks of that size."""
    if not isinstance(content, bytes):
        yield from content.blocks(octets)
        return
    for start in range(0, len(content), octets):
        yield content[start : start + octets]


def behind(head: bytes, content: Content, start: int = 0) -> Content:
    """Return what follows the first `start` octets of the content, with `head` before it."""
    return head + content[start:] if isinstance(content, bytes) else content.behind(head, start)
