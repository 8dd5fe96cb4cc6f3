"""mtad.smtp.data against a reference that reads octet by octet, for every way to cut the input."""

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.reply import Reply
from mtad.smtp.data import DataDecoder


@dataclass(frozen=True)
class Reading:
    """What came of some octets. `content` is None when it is not to be used."""

    content: bytes | None
    problem: Reply | None
    rest: bytes | None


def reference(octets: bytes, max_octets: int) -> Reading:
    """Split at CRLF, one line at a time, as RFC 5321 §4.5.2 tells it."""
    lines = octets.split(b"\r\n")
    content: list[bytes] = []
    for number, line in enumerate(lines[:-1]):
        if line == b".":
            text = b"".join(taken + b"\r\n" for taken in content)
            problem = None
            if len(text) > max_octets:
                problem = replies.TOO_LARGE
            if b"\0" in text:
                problem = replies.NUL_OCTET
            if any(b"\r" in taken or b"\n" in taken for taken in content):
                problem = replies.BARE_NEWLINE
            return Reading(None if problem else text, problem, b"\r\n".join(lines[number + 1 :]))
        content.append(line.removeprefix(b"."))
    return Reading(None, None, None)


def read(pieces: list[bytes], max_octets: int) -> Reading:
    decoder = DataDecoder(max_octets)
    content = b"".join([decoder.feed(piece) for piece in pieces])
    if not decoder.finished:
        return Reading(None, None, None)
    return Reading(None if decoder.soundness.problem else content, decoder.soundness.problem, decoder.rest)


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    return [octets[start:end] for start, end in pairwise(bounds)]


HOSTILE = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"a", b"\0", b"..", b"MAIL FROM:<>"]),
    max_size=20,
).map(b"".join)
SOUND = st.lists(st.sampled_from([b"\r\n", b"\r\n..", b"\r\n.a", b"a", b"bc", b"\xff", b"."]), max_size=20).map(
    lambda parts: b"".join(parts) + b"\r\n.\r\n"
)


class DataDecoderTest(SynchronousTestCase):
    @given(HOSTILE | SOUND, st.lists(st.integers(0, 200), max_size=6), st.sampled_from([0, 3, 10, 1000]))
    @example(b".\r\n", [1, 2], 0)
    @example(b"a\r\n.\r\nQUIT\r\n", [1, 2, 3, 4, 5], 10)
    @example(b"\r\n.\r", [], 10)
    def test_as_the_reference_however_it_is_cut(self, octets: bytes, places: list[int], max_octets: int) -> None:
        expected = reference(octets, max_octets)
        self.assertEqual(read(cut(octets, places), max_octets), expected)
        self.assertEqual(read([octets], max_octets), expected)
        self.assertEqual(read([octets[place : place + 1] for place in range(len(octets))], max_octets), expected)

    def test_a_message(self) -> None:
        octets = b"Subject: x\r\n\r\n..dot\r\n...\r\na.b\r\n.\r\nQUIT\r\n"
        self.assertEqual(read([octets], 100), Reading(b"Subject: x\r\n\r\n.dot\r\n..\r\na.b\r\n", None, b"QUIT\r\n"))

    def test_an_empty_message(self) -> None:
        self.assertEqual(read([b".\r\nQUIT\r\n"], 100), Reading(b"", None, b"QUIT\r\n"))

    def test_the_limit_counts_decoded_octets(self) -> None:
        octets = b"..345678\r\n.\r\n"
        self.assertEqual(read([octets], 9), Reading(b".345678\r\n", None, b""))
        self.assertEqual(read([octets], 8), Reading(None, replies.TOO_LARGE, b""))

    def test_what_looks_like_an_end_is_a_problem(self) -> None:
        for false_end in (b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\r\n.\r\r\n"):
            octets = b"a" + false_end + b"MAIL FROM:<>\r\n.\r\nNOOP\r\n"
            self.assertEqual(read([octets], 100), Reading(None, replies.BARE_NEWLINE, b"NOOP\r\n"), false_end)
        octets = b"a\r\n\0.\r\nMAIL FROM:<>\r\n.\r\nNOOP\r\n"
        self.assertEqual(read([octets], 100), Reading(None, replies.NUL_OCTET, b"NOOP\r\n"))

    def test_no_content_after_a_problem(self) -> None:
        decoder = DataDecoder(1000)
        self.assertEqual(decoder.feed(b"sound\r\n"), b"sound")
        self.assertEqual(decoder.feed(b"bare\nline\r\n"), b"")
        self.assertEqual(decoder.feed(b"sound again\r\n"), b"")
        self.assertFalse(decoder.finished)
        self.assertEqual(decoder.soundness.problem, replies.BARE_NEWLINE)

    def test_what_comes_after_the_end_is_kept(self) -> None:
        decoder = DataDecoder(1000)
        decoder.feed(b"a\r\n.\r\nRSET")
        self.assertEqual(decoder.feed(b"\r\n"), b"")
        self.assertEqual(decoder.rest, b"RSET\r\n")

    def test_content_comes_in_bulk(self) -> None:
        line = b"x" * 70 + b"\r\n"
        octets = line * 10_000 + b".\r\n"
        decoder = DataDecoder(1_000_000)
        pieces = [decoder.feed(octets[start : start + 65536]) for start in range(0, len(octets), 65536)]
        self.assertEqual(len(pieces), 11)
        self.assertEqual(b"".join(pieces), line * 10_000)
