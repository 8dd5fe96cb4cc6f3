"""Who is dead, as one observer sees it (DESIGN D8)."""

from math import inf

from twisted.trial.unittest import SynchronousTestCase

from mtad.outbound.lease import LEASE_SECONDS
from mtad.outbound.membership import BEAT_SECONDS, DEAD_SECONDS, Watch


class WatchTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.watch = Watch()
        self.now = 1000.0

    def look(self, seconds: float = BEAT_SECONDS, answer_seconds: float = 0.0, **beats: int) -> list[int]:
        """Let time pass, then ask, and be answered these beats so much later; return the dead."""
        asked_at = self.now + seconds
        self.now = asked_at + answer_seconds
        seen = {int(name[1:]): beat for name, beat in beats.items()}
        dead = self.watch.observe(seen, asked_at, self.now)
        self.assertEqual({owner: seen[owner] for owner in dead}, dead)
        return list(dead)

    def test_whose_beat_stands_still_for_fifteen_seconds_is_dead(self) -> None:
        self.assertEqual(self.look(_1=5, _2=8), [])
        for beat in range(9, 13):
            self.assertEqual(self.look(_1=5, _2=beat), [])
        self.assertEqual(self.look(2.9, _1=5, _2=13), [])
        self.assertEqual(self.look(0.1, _1=5, _2=13), [1])

    def test_a_beat_that_moves_begins_anew(self) -> None:
        self.look(_1=5)
        for beat in (5, 5, 5, 6, 6, 6, 6, 6):
            self.assertEqual(self.look(_1=beat), [])
        self.assertEqual(self.look(_1=6), [1])

    def test_who_cannot_see_sees_nobody_die(self) -> None:
        self.look(_1=5)
        for _ in range(3):
            self.look(_1=5)
        self.watch.blind()
        for _ in range(5):
            self.assertEqual(self.look(_1=5), [])
        self.assertEqual(self.look(_1=5), [1])

    def test_who_stood_still_itself_saw_nobody_stand_still(self) -> None:
        self.look(_1=5)
        self.assertEqual(self.look(60, _1=5), [], "both may just have been woken up")
        for _ in range(4):
            self.assertEqual(self.look(_1=5), [])
        self.assertEqual(self.look(_1=5), [1])

    def test_late_looks_are_looks(self) -> None:
        self.look(_1=5)
        self.assertEqual(self.look(LEASE_SECONDS - 0.1, _1=5), [])
        self.assertEqual(self.look(LEASE_SECONDS - 0.1, _1=5), [1])

    def test_the_time_an_answer_takes_is_nobodys_silence(self) -> None:
        self.look(_1=5, answer_seconds=2)
        for _ in range(2):
            self.assertEqual(self.look(4, _1=5), [])
        # Asked after 14 s of silence, heard after 20.
        self.assertEqual(self.look(6, _1=5, answer_seconds=6), [])
        self.assertEqual(self.watch.next_death(self.now), 0, "to be looked at again at once")
        self.assertEqual(self.look(0, _1=5), [1])
        self.assertEqual(self.watch.next_death(self.now), inf, "it is known to be dead")

    def test_it_knows_when_the_next_may_be_dead(self) -> None:
        self.assertEqual(self.watch.next_death(self.now), inf)
        self.look(_1=5, _2=8)
        self.look(_1=5, _2=9)
        self.assertEqual(self.watch.next_death(self.now), DEAD_SECONDS - BEAT_SECONDS)
        self.watch.blind()
        self.assertEqual(self.watch.next_death(self.now), inf)
