"""mtad.policy.login: who waits how long, who is refused, and that nobody can lock others out."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.policy.login import KNOWN_SECONDS, WINDOW_SECONDS, Later, LoginFacts, decide


def told(facts: LoginFacts) -> float | str:
    """Return the delay, 0.0 for none, or `refused`."""
    verdict = decide(facts)
    return verdict.seconds if isinstance(verdict, Later) else "refused"


class LoginPolicyTest(SynchronousTestCase):
    def test_who_guesses_at_one_account_is_slowed_then_refused(self) -> None:
        said = [told(LoginFacts(of_pair=count, of_place=count, of_account=count, known=True)) for count in range(17)]
        self.assertEqual(said, [*[0.0] * 5, 1.0, 2.0, 4.0, 8.0, *[10.0] * 6, "refused", "refused"])

    def test_who_guesses_at_many_is_slowed_then_refused_later(self) -> None:
        self.assertEqual([told(LoginFacts(of_place=count)) for count in (29, 30, 32, 40, 99)], [0, 1, 4, 10, 10])
        self.assertEqual([told(LoginFacts(of_place=count)) for count in (100, 10_000)], ["refused"] * 2)

    def test_failures_are_forgotten_long_before_homes_are(self) -> None:
        self.assertEqual((WINDOW_SECONDS, KNOWN_SECONDS), (15 * 60, 30 * 86400))

    @given(st.integers(0, 1 << 40), st.integers(0, 1 << 40))
    def test_nobody_is_locked_out_by_others(self, of_account: int, of_place: int) -> None:
        self.assertEqual(told(LoginFacts(of_account=of_account, of_place=of_place, known=True)), 0.0)
        self.assertEqual(told(LoginFacts(of_account=of_account)), 5.0 if of_account >= 20 else 0.0)
