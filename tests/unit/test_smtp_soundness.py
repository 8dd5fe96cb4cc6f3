"""mtad.smtp.soundness: lengths of lines, against a reference that looks at every line."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.smtp.soundness import MAX_LINE_OCTETS, TEXT_LINE_OCTETS, Soundness


def watched(pieces: list[bytes], max_octets: int = 10_000_000) -> Soundness:
    soundness = Soundness(max_octets)
    for piece in pieces:
        soundness.watch(piece)
    return soundness


LENGTHS = st.integers(0, 20) | st.integers(TEXT_LINE_OCTETS - 5, TEXT_LINE_OCTETS + 5) | st.integers(0, 5000)


class LinesTest(SynchronousTestCase):
    @given(st.lists(LENGTHS, max_size=12), st.lists(st.integers(0, 30_000), max_size=6))
    @example([890, 8, 300], [900, 1400])
    @example([999], [1, 500])
    def test_the_longest_line_however_it_is_cut(self, lengths: list[int], places: list[int]) -> None:
        octets = b"".join(b"x" * length + b"\r\n" for length in lengths)
        bounds = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
        # No piece ends between a CR and its LF.
        bounds = [bound + 1 if octets[bound - 1 : bound + 1] == b"\r\n" else bound for bound in bounds]
        soundness = watched([octets[start:end] for start, end in pairwise(bounds)])
        longest = max(lengths, default=0)
        self.assertEqual(soundness.longest_line, longest if longest > TEXT_LINE_OCTETS else 0)
        self.assertIsNone(soundness.problem)

    def test_lines_up_to_the_limit_are_taken(self) -> None:
        longest = b"x" * MAX_LINE_OCTETS + b"\r\n"
        self.assertIsNone(watched([longest]).problem)
        self.assertEqual(watched([longest]).longest_line, MAX_LINE_OCTETS)
        self.assertEqual(watched([b"x" + longest]).problem, replies.LINE_OVER_LIMIT)

    def test_a_line_over_the_limit_is_known_before_its_end(self) -> None:
        soundness = watched([b"x" * 1000] * 65)
        self.assertIsNone(soundness.problem)
        soundness.watch(b"x" * 1000)
        self.assertEqual(soundness.problem, replies.LINE_OVER_LIMIT)

    def test_the_worst_problem_is_told(self) -> None:
        self.assertEqual(watched([b"123456"], 5).problem, replies.TOO_LARGE)
        self.assertEqual(watched([b"123456", b"\0"], 5).problem, replies.NUL_OCTET)
        self.assertEqual(watched([b"\0", b"12345678"], 5).problem, replies.NUL_OCTET)
        self.assertEqual(watched([b"123456", b"\0", b"\n", b"\0"], 5).problem, replies.BARE_NEWLINE)
        for bare in (b"a\rb", b"a\nb", b"\n\r", b"\r\r\n"):
            self.assertEqual(watched([bare]).problem, replies.BARE_NEWLINE, bare)
