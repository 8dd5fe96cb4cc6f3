"""mtad.verification.canonical: dkimpy makes the same of any message, in pieces of any size."""

import hashlib
from itertools import pairwise

from dkim.canonicalization import Relaxed
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.verification.canonical import BLOCK_OCTETS, BodyHash, blocks, field

EMPTY = hashlib.sha256(b"").digest()
PIECES = st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r\n\r\n", b"a", b"\xff", b".", b"  b"]), max_size=30)
CUTS = st.lists(st.integers(0, 90), max_size=6)


def digest(*pieces: bytes) -> bytes:
    made = BodyHash()
    for piece in pieces:
        made.update(piece)
    return made.digest()


def of(canonical: bytes) -> bytes:
    return hashlib.sha256(canonical).digest()


class BodyTest(SynchronousTestCase):
    @given(PIECES, CUTS)
    def test_it_is_dkimpys_and_where_it_is_cut_makes_no_difference(self, parts: list[bytes], cuts: list[int]) -> None:
        body = b"".join(parts) + b"\r\n"
        places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
        pieces = [body[start:end] for start, end in pairwise(places)]
        self.assertEqual(digest(*pieces), of(Relaxed.canonicalize_body(body)))

    def test_examples_of_the_rfc(self) -> None:
        self.assertEqual(digest(b" C \r\nD \t E\r\n\r\n\r\n"), of(b" C\r\nD E\r\n"))  # RFC 6376 §3.4.5
        self.assertEqual(digest(b""), EMPTY)
        self.assertEqual(digest(b"\r\n\r\n"), EMPTY)
        self.assertEqual(digest(b" \t\r\n \r\n"), EMPTY)

    def test_a_last_line_without_its_end_gets_one(self) -> None:
        self.assertEqual(digest(b"a"), of(b"a\r\n"))
        self.assertEqual(digest(b"a\r\n\r\nb \t"), of(b"a\r\n\r\nb\r\n"))
        self.assertEqual(digest(b"  "), EMPTY)

    def test_long_runs_go_over_many_blocks(self) -> None:
        for run, between in ((b" ", b" "), (b"\t ", b" "), (b"\r\n", b"\r\n" * (5 * BLOCK_OCTETS))):
            body = b"a" + run * (5 * BLOCK_OCTETS) + b"b" + run * (3 * BLOCK_OCTETS)
            self.assertEqual(digest(*blocks(body)), of(b"a" + between + b"b\r\n"))
        self.assertEqual(digest(*blocks(b" \r\n" * BLOCK_OCTETS)), EMPTY)

    def test_blocks_are_the_body(self) -> None:
        body = bytes(range(256)) * 1000
        self.assertEqual(b"".join(blocks(body)), body)
        self.assertEqual({len(block) for block in blocks(body)}, {BLOCK_OCTETS, len(body) % BLOCK_OCTETS})
        self.assertEqual(list(blocks(b"")), [])


class FieldTest(SynchronousTestCase):
    @given(st.lists(st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"x", b":", b"\xe9", b"Y"]), max_size=30))
    def test_it_is_dkimpys(self, parts: list[bytes]) -> None:
        value = b"".join(parts)
        (name, made), *_ = Relaxed.canonicalize_headers([(b"SubJect", value)])
        self.assertEqual(field(b"SubJect", value) + b"\r\n", name + b":" + made)

    def test_examples(self) -> None:
        self.assertEqual(field(b"A ", b" X"), b"a:X")  # RFC 6376 §3.4.5
        self.assertEqual(field(b"B", b" Y\t\r\n\tZ  "), b"b:Y Z")
        self.assertEqual(field(b"Subject", b""), b"subject:")
