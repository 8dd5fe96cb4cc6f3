"""mtad.smtp.survey: what has to be known of a content before it is sent."""

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.smtp.survey import Survey


def surveyed(*blocks: bytes) -> Survey:
    survey = Survey()
    for block in blocks:
        survey.look(block)
    return survey


class SurveyTest(SynchronousTestCase):
    def test_newlines_that_stand_alone_are_seen(self) -> None:
        for content in (b"a\nb\r\n", b"a\rb\r\n", b"\n.\n", b"\r\n\r", b"\n\r\n", b"\r\r\n", b"\n\r"):
            self.assertTrue(surveyed(content).bare_newline, content)
        for content in (b"", b"a", b"a\r\n", b"\r\n\r\n.\r\n"):
            self.assertFalse(surveyed(content).bare_newline, content)

    def test_what_is_passed_over_is_looked_at_for_octets_above_127_alone(self) -> None:
        survey = surveyed(b"a\r\n")
        survey.pass_over(b"\x80\n")
        self.assertEqual((survey.bare_newline, survey.eight_bit), (False, True))

    def test_no_line_end_is_made_of_what_is_looked_at_and_what_is_passed_over(self) -> None:
        survey = surveyed(b"a\r")
        survey.pass_over(b"\nb\r\n")
        self.assertTrue(survey.bare_newline)

    def test_octets_above_127_are_seen_wherever_they_are(self) -> None:
        self.assertTrue(surveyed(b"a", b"\x80", b"a").eight_bit)
        self.assertFalse(surveyed(b"a", b"\x7f").eight_bit)

    @given(st.lists(st.sampled_from([b"\r", b"\n", b"a", b"", b"\r\n", b"\xff"]), max_size=30))
    def test_blocks_make_no_difference(self, blocks: list[bytes]) -> None:
        content = b"".join(blocks)
        bare = re.search(rb"\r(?!\n)|(?<!\r)\n", content) is not None
        for survey in (surveyed(*blocks), surveyed(content)):
            self.assertEqual((survey.bare_newline, survey.eight_bit), (bare, b"\xff" in content))
