"""mtad.verification.canonical: dkimpy makes the same of any message, in pieces of any size."""

import hashlib
from itertools import pairwise

from dkim.canonicalization import Relaxed, Simple
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.verification.canonical import (
    BLOCK_OCTETS,
    BodyDigest,
    BodyForm,
    BodyHash,
    BodyHashes,
    blocks,
    field,
    simple_field,
)

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


class BodyHashesTest(SynchronousTestCase):
    @settings(deadline=None)
    @given(PIECES, CUTS, st.lists(st.integers(0, 60), max_size=5), st.booleans())
    def test_all_forms_and_limits_at_once(
        self, parts: list[bytes], cuts: list[int], limits: list[int], ended: bool
    ) -> None:
        body = b"".join(parts) + b"\r\n" * ended
        limits.append(len(body))
        forms = [BodyForm(name, limit_octets=limit) for name in ("simple", "relaxed") for limit in (None, *limits)]
        hashes = BodyHashes(forms)
        places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
        for start, end in pairwise(places):
            hashes.update(body[start:end])
        found = hashes.digests()
        # dkimpy gives a line that has no end none, RFC 6376 §3.4.3 does.
        lines = body if body.endswith(b"\r\n") or not body else body + b"\r\n"
        for form in forms:
            policy = Simple if form.canonicalisation == "simple" else Relaxed
            canonical = policy.canonicalize_body(lines)
            limit = len(canonical) if form.limit_octets is None else form.limit_octets
            expected = None if limit > len(canonical) else BodyDigest(of(canonical[:limit]), limit == len(canonical))
            self.assertEqual(found.get(form), expected, (form, body))

    def test_an_empty_body_is_a_line_when_simple(self) -> None:
        forms = (BodyForm("simple"), BodyForm("relaxed"), BodyForm("relaxed", limit_octets=0))
        for body in (b"", b"\r\n", b"\r\n" * BLOCK_OCTETS):
            hashes = BodyHashes(forms)
            for block in blocks(body):
                hashes.update(block)
            found = hashes.digests()
            self.assertEqual([found[form].digest for form in forms], [of(b"\r\n"), EMPTY, EMPTY])
            self.assertTrue(all(each.whole for each in found.values()))

    def test_limits_go_over_many_blocks(self) -> None:
        body = b"a" + b"\r\n" * (2 * BLOCK_OCTETS) + b"b\r\n" + b"\r\n" * BLOCK_OCTETS
        whole = 4 * BLOCK_OCTETS + 4
        forms = [BodyForm("simple", limit_octets=limit) for limit in (1, BLOCK_OCTETS, whole - 1, whole, whole + 1)]
        hashes = BodyHashes(forms)
        for block in blocks(body):
            hashes.update(block)
        found = hashes.digests()
        self.assertEqual(
            [found[form].digest for form in forms[:4]], [of(body[: form.limit_octets]) for form in forms[:4]]
        )
        self.assertEqual([found[form].whole for form in forms[:4]], [False, False, False, True])
        self.assertNotIn(forms[4], found)


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

    def test_the_simple_form_is_as_it_stands_there(self) -> None:
        self.assertEqual(simple_field(b"B ", b" Y\t\r\n\tZ  "), b"B : Y\t\r\n\tZ  ")  # RFC 6376 §3.4.5
