"""What `make test` counts."""

from twisted.trial.unittest import SynchronousTestCase

from tests.run import Tally, complaints, failures, reasons_to_skip, tally_of_check, tally_of_suite


class TallyTest(SynchronousTestCase):
    def test_summaries_of_trial(self) -> None:
        for summary, status, tally in (
            ("PASSED (successes=12)", 0, Tally(12, 0, 0)),
            ("PASSED (skips=2, successes=3)", 0, Tally(3, 0, 2)),
            ("PASSED (expectedFailures=1, successes=3)", 0, Tally(4, 0, 0)),
            ("FAILED (failures=1, errors=2, successes=3)", 1, Tally(3, 3, 0)),
            ("FAILED (unexpectedSuccesses=1, successes=3)", 1, Tally(3, 1, 0)),
            ("FAILED (errors=1)", 1, Tally(0, 1, 0)),
            ("PASSED", 0, Tally(0, 0, 0)),
        ):
            self.assertEqual(tally_of_suite(f"noise\n---\nRan some\n\n{summary}\n", status), tally, summary)

    def test_the_last_summary_counts(self) -> None:
        output = "PASSED (successes=1)\n\nFAILED (failures=1)\n"
        self.assertEqual(tally_of_suite(output, 1), Tally(0, 1, 0))

    def test_a_run_that_did_not_get_to_its_end(self) -> None:
        self.assertEqual(tally_of_suite("Segmentation fault\n", -11), Tally(0, 1, 0))
        self.assertEqual(tally_of_suite("", 0), Tally(0, 1, 0))
        self.assertEqual(tally_of_suite("PASSED (successes=5)\n", 1), Tally(5, 1, 0))

    def test_why_tests_were_skipped(self) -> None:
        output = "[SKIPPED]\nno swaks\n\na.B.c\n====\n[SKIPPED]\nno curl\n\na.B.d\n====\n[SKIPPED]\nno swaks\n"
        self.assertEqual(reasons_to_skip(output), ["no curl", "no swaks"])
        self.assertEqual(reasons_to_skip("PASSED (successes=1)\n"), [])

    def test_the_last_line(self) -> None:
        total = Tally(1, 0, 2) + tally_of_check(0) + tally_of_check(1)
        self.assertEqual(str(total), "2 passed, 1 failed, 2 skipped")


RULE = "=" * 79
OUTPUT = f"""tests.a
  BTest
    test_c ...   [FAIL]

{RULE}
[SKIPPED]
no swaks

tests.a.BTest.test_b
{RULE}
[FAIL]
Traceback (most recent call last):
  File "a.py", line 1, in test_c
    self.assertEqual(1, 2)
twisted.trial.unittest.FailTest: 1 != 2

tests.a.BTest.test_c
tests.a.BTest.test_d
{RULE}
[ERROR]
Traceback (most recent call last):
builtins.KeyError: 'e'

tests.a.BTest.test_e
{"-" * 79}
Ran 4 tests in 0.1s

FAILED (skips=1, failures=2, errors=1)
"""


class FailuresTest(SynchronousTestCase):
    def test_each_is_a_line_with_its_reason(self) -> None:
        self.assertEqual(
            failures(OUTPUT),
            [
                "tests.a.BTest.test_c: twisted.trial.unittest.FailTest: 1 != 2",
                "tests.a.BTest.test_d: twisted.trial.unittest.FailTest: 1 != 2",
                "tests.a.BTest.test_e: builtins.KeyError: 'e'",
            ],
        )

    def test_what_went_well_is_not_told_again(self) -> None:
        self.assertTrue(complaints(OUTPUT).startswith("[SKIPPED]\nno swaks"))

    def test_a_run_that_did_not_get_to_its_end_is_told_whole(self) -> None:
        self.assertEqual(complaints("Segmentation fault\n"), "Segmentation fault\n")
        self.assertEqual(failures("Segmentation fault\n"), [])
