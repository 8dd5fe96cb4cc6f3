"""mtad.policy.login: who waits how long, who is refused, and that nobody can lock others out."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.verdict import Accept, Refuse
from mtad.policy.login import KNOWN_SECONDS, WINDOW_SECONDS, LoginFacts, Slow, decide


def told(facts: LoginFacts) -> float | str:
    """Return the delay, 0.0 for none, or `refused`."""
    verdict = decide(facts)
    if isinstance(verdict, Refuse):
        return "refused"
    return verdict.seconds if isinstance(verdict, Slow) else 0.0


class LoginPolicyTest(SynchronousTestCase):
    def test_who_guesses_at_one_account_is_slowed_then_refused(self) -> None:
        said = [told(LoginFacts(of_pair=count, of_place=count, of_account=count, known=True)) for count in range(17)]
        self.assertEqual(said, [*[0.0] * 5, 1.0, 2.0, 4.0, 8.0, *[10.0] * 6, "refused", "refused"])

    def test_who_guesses_at_many_is_slowed_then_refused_later(self) -> None:
        self.assertEqual([told(LoginFacts(of_place=count)) for count in (29, 30, 32, 40, 99)], [0, 1, 4, 10, 10])
        self.assertEqual([told(LoginFacts(of_place=count)) for count in (100, 10_000)], ["refused"] * 2)

    def test_a_refusal_says_when_to_come_again_and_nothing_else(self) -> None:
        self.assertEqual(decide(LoginFacts(of_pair=50)), Refuse(replies.LOGINS_PAUSED, "login-throttled"))
        self.assertEqual(replies.LOGINS_PAUSED.code, 454)
        self.assertEqual(WINDOW_SECONDS, 900.0)
        self.assertGreaterEqual(KNOWN_SECONDS, 30 * 86400)

    @given(st.integers(0, 1 << 40))
    def test_an_account_alone_is_slowed_at_most_and_never_where_it_is_known(self, count: int) -> None:
        self.assertEqual(decide(LoginFacts(of_account=count, known=True)), Accept("few failures"))
        self.assertEqual(told(LoginFacts(of_account=count)), 5.0 if count >= 20 else 0.0)
