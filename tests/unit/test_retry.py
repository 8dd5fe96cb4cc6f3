"""mtad.scheduling.retry: how the waits grow, spread and end."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.config.sections import Queue
from mtad.scheduling.retry import GivenUp, given_up, next_due

MINUTE = 60.0
HOUR = 3600.0
NOW = 1_900_000_000.0


def wait(attempts: int, chance: float = 0.0) -> float:
    return next_due(attempts, NOW, 5 * MINUTE, 4 * HOUR, chance) - NOW


class NextDueTest(SynchronousTestCase):
    def test_doubles_from_the_first_delay_to_the_longest(self) -> None:
        minutes = [wait(attempts) / MINUTE for attempts in range(8)]
        self.assertEqual(minutes, [5, 10, 20, 40, 80, 160, 240, 240])

    def test_chance_takes_up_to_a_quarter_off(self) -> None:
        self.assertEqual(wait(0, chance=0.5), 5 * MINUTE * 0.875)
        self.assertEqual(round(wait(9, chance=0.999999)), 3 * HOUR)

    def test_a_first_delay_above_the_longest_is_cut(self) -> None:
        self.assertEqual(next_due(0, NOW, 6 * HOUR, 4 * HOUR, 0.0), NOW + 4 * HOUR)

    def test_the_last_wait_ends_with_the_lifetime(self) -> None:
        self.assertEqual(next_due(5, NOW, 5 * MINUTE, 4 * HOUR, 0.0, NOW + 7 * MINUTE), NOW + 7 * MINUTE)

    def test_with_the_defaults_it_is_the_lifetime_that_ends_however_chance_falls(self) -> None:
        queue = Queue()
        for chance in (0.0, 0.5, 1.0):
            now, attempts = 0.0, 0
            while given_up(attempts, now, queue.max_retries, queue.lifetime) is None:
                now = next_due(attempts, now, queue.retry_delay, queue.max_retry_delay, chance, queue.lifetime)
                attempts += 1
            self.assertEqual(now, queue.lifetime)
        self.assertEqual(attempts, 45)

    @given(
        st.integers(0, 100_000),
        st.floats(0.001, 1e6),
        st.floats(0.001, 1e6),
        st.floats(0, 1, exclude_max=True),
    )
    def test_stays_within_its_bounds(self, attempts: int, first: float, longest: float, chance: float) -> None:
        due = next_due(attempts, 0.0, first, longest, chance)
        self.assertLessEqual(due, longest)
        self.assertGreaterEqual(due, min(first, longest) * 0.75)
        self.assertGreaterEqual(next_due(attempts + 1, 0.0, first, longest, chance), due)


class GivenUpTest(SynchronousTestCase):
    def test_goes_on_while_there_are_retries_and_time(self) -> None:
        self.assertIsNone(given_up(attempts=29, now=NOW, max_retries=30, expires_at=NOW + 1))

    def test_the_last_retry_was_the_last(self) -> None:
        self.assertIs(given_up(attempts=30, now=NOW, max_retries=30, expires_at=NOW + 1), GivenUp.RETRIES)

    def test_the_first_try_is_no_retry(self) -> None:
        self.assertIs(given_up(attempts=0, now=NOW, max_retries=0, expires_at=NOW + 1), GivenUp.RETRIES)
        self.assertIsNone(given_up(attempts=0, now=NOW, max_retries=1, expires_at=NOW + 1))

    def test_the_try_at_the_end_of_the_lifetime_is_the_last(self) -> None:
        self.assertIs(given_up(attempts=0, now=NOW, max_retries=30, expires_at=NOW), GivenUp.LIFETIME)
