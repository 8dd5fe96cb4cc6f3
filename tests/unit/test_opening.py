"""mtad.inbound.opening: the first octets of a session, cut anywhere."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.inbound.opening import EARLY_TALKER, PROXY_HEADER, Opening
from mtad.smtp.proxy import SIGNATURE


class OpeningTest(SynchronousTestCase):
    def found(self, octets: bytes, cuts: list[int], greeted: bool = True) -> str | None:
        """Return the first problem with octets that come in pieces."""
        opening = Opening()
        ends = sorted(cut % (len(octets) + 1) for cut in cuts)
        pieces = [octets[begin:end] for begin, end in zip([0, *ends], [*ends, len(octets)], strict=True)]
        return next(filter(None, (opening.problem(piece, greeted) for piece in pieces if piece)), None)

    @given(st.sampled_from([b"PROXY TCP4 192.0.2.1", SIGNATURE + b"\x21\x11"]), st.lists(st.integers(0, 30)))
    def test_a_header_is_seen_however_it_is_cut(self, octets: bytes, cuts: list[int]) -> None:
        self.assertEqual(self.found(octets, cuts), PROXY_HEADER)

    @given(st.sampled_from([b"EHLO a\r\n", b"PROXY\r\nNOOP\r\n", b"\r\n\r\nNOOP\r\n"]), st.lists(st.integers(0, 30)))
    def test_commands_are_none(self, octets: bytes, cuts: list[int]) -> None:
        self.assertIsNone(self.found(octets + SIGNATURE + b"PROXY TCP4", cuts))

    def test_anything_is_too_early_before_the_greeting(self) -> None:
        self.assertEqual(self.found(b"E", [], greeted=False), EARLY_TALKER)
        self.assertEqual(self.found(b"PROXY TCP4", [], greeted=False), PROXY_HEADER)
