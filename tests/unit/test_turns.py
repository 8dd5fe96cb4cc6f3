"""mtad.inbound.turns: how many at once, in which order, and who leaves."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.inbound.turns import Crowded, Turns


class TurnsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = Turns(at_once=1, most_waiting=3, patience=5.0, clock=self.clock)
        self.had: list[str] = []

    def take(self, name: str) -> "Deferred[None]":
        return self.turns.take(name).addCallback(lambda _: self.had.append(name))

    def end(self, times: int) -> None:
        for _ in range(times):
            self.turns.give_back()

    def test_whoever_waits_is_served_in_the_round(self) -> None:
        for name in ("a", "a", "a", "a", "b", "b", "c"):
            self.take(name)
        self.assertEqual(self.had, ["a"])
        self.end(6)
        self.assertEqual(self.had, ["a", "a", "b", "c", "a", "b", "a"])

    def test_no_more_of_one_name_wait_and_others_still_may(self) -> None:
        waiting = [self.take("a") for _ in range(4)]
        self.failureResultOf(self.take("a"), Crowded)
        self.assertEqual(self.turns.waiting, 3)
        self.take("b")
        self.end(2)
        self.assertEqual(self.had, ["a", "a", "b"])
        self.assertNoResult(waiting[2])

    def test_who_leaves_has_no_turn_and_makes_room(self) -> None:
        self.take("a")
        gone = [self.take("b") for _ in range(3)]
        for one in gone:
            one.cancel()
            self.failureResultOf(one, CancelledError)
        self.assertEqual(self.turns.waiting, 0)
        self.take("b")
        self.end(2)
        self.assertEqual(self.had, ["a", "b"])
        self.take("c")
        self.assertEqual(self.had, ["a", "b", "c"])

    def test_a_cancelled_turn_that_was_had_stays_had(self) -> None:
        self.take("a")
        second = self.take("b")
        self.end(1)
        second.cancel()
        self.assertEqual(self.had, ["a", "b"])
        self.assertNoResult(self.take("c"))

    def test_nobody_waits_for_ever(self) -> None:
        self.take("a")
        late = self.take("b")
        self.clock.advance(4.9)
        self.assertNoResult(late)
        self.clock.advance(0.2)
        self.failureResultOf(late, Crowded)
        self.assertEqual(self.turns.waiting, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
