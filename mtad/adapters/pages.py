"""Octets that gather in memory: a few as they came, many in pages of their own.

Pieces of messages that come side by side lie mixed up in the heap; once some of them are done, what is between the
others is free and yet of no use to anything larger, and the process grows well beyond what it holds. Pages of one's
own go back to the system the moment they are not needed.
"""

import mmap

FEW_OCTETS = 32 * 1024


class Pages:
    """At most `most_octets`, from the beginning on. The pages are used as they are written to."""

    def __init__(self, most_octets: int) -> None:
        self._most_octets = most_octets
        self._pieces: list[bytes] = []
        self._pages: mmap.mmap | None = None
        self._octets = 0

    def __len__(self) -> int:
        """Return how many octets there are."""
        return self._octets

    def add(self, octets: bytes) -> None:
        """Append; ValueError beyond the most."""
        if self._pages is None and self._octets + len(octets) > FEW_OCTETS:
            # Private: what is shared would count as a file's.
            self._pages = mmap.mmap(-1, self._most_octets, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            for piece in self._pieces:
                self._pages.write(piece)
            self._pieces.clear()
        if self._pages is None:
            self._pieces.append(octets)
        else:
            self._pages.write(octets)
        self._octets += len(octets)

    def take(self) -> bytes:
        """Return all of it, and be empty."""
        octets = b"".join(self._pieces) if self._pages is None else self._pages[: self._octets]
        self.drop()
        return octets

    def drop(self) -> None:
        """Be empty."""
        self._pieces.clear()
        self._octets = 0
        if self._pages is not None:
            self._pages.close()
            self._pages = None
