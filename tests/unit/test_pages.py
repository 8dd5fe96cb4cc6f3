"""mtad.adapters.pages: octets come back as they were, and take nothing once they are gone."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.pages import FEW_OCTETS, Pages

MOST = 4 * FEW_OCTETS


def map_count() -> int:
    return len(Path(f"/proc/{os.getpid()}/maps").read_text().splitlines())


class PagesTest(SynchronousTestCase):
    @given(st.lists(st.integers(0, FEW_OCTETS), max_size=4))
    def test_what_was_added_comes_back(self, sizes: list[int]) -> None:
        pages = Pages(MOST)
        pieces = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
        for piece in pieces:
            pages.add(piece)
        self.assertEqual(len(pages), sum(sizes))
        self.assertEqual(pages.take(), b"".join(pieces))
        self.assertEqual((len(pages), pages.take()), (0, b""))

    def test_the_most_is_the_most(self) -> None:
        pages = Pages(MOST)
        pages.add(b"x" * MOST)
        self.assertRaises(ValueError, pages.add, b"x")

    def test_pages_go_back_at_once(self) -> None:
        before = map_count()
        held = [Pages(MOST) for _ in range(50)]
        for pages in held:
            # Neighbours of the same kind are one map to the system.
            pages.add(b"x" * MOST)
        for pages in held:
            pages.drop()
        self.assertLessEqual(map_count(), before + 5)
