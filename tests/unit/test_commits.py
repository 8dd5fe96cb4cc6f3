"""What acceptances that failed say of the database: that it is away only when it said nothing."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.errors import LeaseLost, NoAnswer, NoRoom, Unavailable
from mtad.outbound.commits import AGAIN_SECONDS, FULL_SECONDS, Commits


class CommitsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.commits = Commits(self.clock)

    def fails(self, trouble: Unavailable, small: bool = True) -> None:
        """Let an acceptance begin, and fail."""
        with self.assertRaises(type(trouble)), self.commits.waiting(1, small):
            raise trouble

    def test_a_refusal_of_one_message_keeps_no_other_out(self) -> None:
        self.fails(Unavailable("postgres", "internal error (XX000)"))
        self.fails(LeaseLost("no row"))
        strain = self.commits.strain()
        self.assertEqual((strain.away, strain.disk_full), (False, False))

    def test_who_is_not_answered_tells_for_a_while_that_the_database_is_away(self) -> None:
        self.fails(NoAnswer("postgres", "no answer for 30 s"))
        self.assertTrue(self.commits.strain().away)
        self.clock.advance(AGAIN_SECONDS)
        self.assertFalse(self.commits.strain().away)

    def test_a_refusal_does_not_end_that(self) -> None:
        self.fails(NoAnswer("postgres", "no answer for 30 s"))
        self.fails(Unavailable("postgres", "internal error (XX000)"))
        self.assertTrue(self.commits.strain().away)

    def test_one_that_is_committed_ends_it(self) -> None:
        self.fails(NoAnswer("postgres", "no answer for 30 s"))
        with self.commits.waiting(2, small=True):
            pass
        self.assertFalse(self.commits.strain().away)

    def test_a_large_one_that_is_not_answered_keeps_nobody_out(self) -> None:
        self.fails(NoAnswer("postgres", "no answer for 300 s"), small=False)
        self.assertFalse(self.commits.strain().away)

    def test_a_full_disk_is_told_for_a_while(self) -> None:
        self.fails(NoRoom("postgres", "full"))
        strain = self.commits.strain()
        self.assertEqual((strain.away, strain.disk_full), (False, True))
        self.clock.advance(FULL_SECONDS)
        self.assertFalse(self.commits.strain().disk_full)
