"""Acceptances that wait: what becomes of one that may have been done, and what is kept of one that was answered."""

from sys import getrefcount

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.postgres.accepting import ACCEPT_SECONDS, Accepting, AcceptLine
from mtad.adapters.postgres.libpq import Refused
from mtad.adapters.postgres.lines import Batch
from mtad.adapters.postgres.recovery import Recovery
from mtad.model.errors import NoAnswer, NoRoom, Unacceptable, Unavailable
from tests.contract.letters import letter

FAULT = Refused("XX000", "internal error")
FULL = Refused("53100", "could not extend file")
BAD_DATA = Refused("22008", "out of range")


class AcceptLineTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.recovery = Recovery()
        self.line = AcceptLine(self.recovery, self.clock)

    def put(self, number: int, content: bytes = b"content") -> Accepting:
        item = Accepting(letter(number, content), 1)
        self.line.put(item)
        return item

    def batch(self) -> Batch[Accepting]:
        batch = self.line.take()
        assert batch is not None
        return batch

    def forgotten(self) -> list[int]:
        return [message for each in self.recovery.forgotten for message in each.messages]

    def test_one_refused_at_its_first_try_left_nothing(self) -> None:
        item = self.put(7)
        self.batch().refused(BAD_DATA)
        self.failureResultOf(item.answer, Unacceptable)
        self.assertEqual(self.forgotten(), [])

    def test_only_one_that_is_given_up_says_that_the_database_does_not_answer(self) -> None:
        refused = self.put(7)
        self.batch().refused(FAULT)
        self.assertNotIsInstance(self.failureResultOf(refused.answer, Unavailable).value, NoAnswer)
        given_up = self.put(8)
        self.clock.advance(ACCEPT_SECONDS)
        self.failureResultOf(given_up.answer, NoAnswer)

    def test_one_refused_after_a_lost_answer_is_removed(self) -> None:
        item = self.put(7)
        self.batch().come_back(tried=True)
        self.batch().refused(FAULT)
        self.failureResultOf(item.answer, Unavailable)
        self.assertEqual(self.forgotten(), [7])

    def test_one_given_up_while_it_is_set_apart_does_not_go_again(self) -> None:
        items = [self.put(7), self.put(8)]
        self.batch().come_back(tried=True)
        self.batch().refused(FAULT)
        self.clock.advance(ACCEPT_SECONDS)
        for item in items:
            self.failureResultOf(item.answer, Unavailable)
        self.assertIsNone(self.line.take())
        self.assertEqual(self.forgotten(), [7, 8])

    def test_a_full_disk_is_told_at_once_and_nobody_is_at_fault(self) -> None:
        items = [self.put(7), self.put(8)]
        batch = self.batch()
        self.assertFalse(batch.repeats(FULL))
        batch.refused(FULL)
        for item in items:
            self.failureResultOf(item.answer, NoRoom)
        self.assertIsNone(self.line.take())

    def test_any_other_trouble_of_the_server_is_waited_out(self) -> None:
        self.put(7)
        self.assertTrue(self.batch().repeats(Refused("53300", "too many connections")))

    def test_the_thirty_seconds_are_each_ones_own(self) -> None:
        first = self.put(7)
        self.clock.advance(20)
        second = self.put(8)
        self.clock.advance(10)
        self.failureResultOf(first.answer, Unavailable)
        self.clock.advance(19)
        self.assertNoResult(second.answer)
        self.clock.advance(1)
        self.failureResultOf(second.answer, Unavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_keeps_the_content_of_one_that_was_refused(self) -> None:
        waiting = self.put(7, b"before it")
        content = bytes(bytearray(5_000))
        alone = getrefcount(content)
        item = self.put(8, content)
        self.assertGreater(getrefcount(content), alone)
        batch = self.batch()
        batch.refused(BAD_DATA)
        self.batch().refused(BAD_DATA)
        self.failureResultOf(waiting.answer, Unacceptable)
        self.assertGreater(getrefcount(content), alone)
        self.batch().refused(BAD_DATA)
        self.failureResultOf(item.answer, Unacceptable)
        self.assertEqual(getrefcount(content), alone)

    def test_nothing_keeps_the_content_of_one_given_up_under_way(self) -> None:
        content = bytes(bytearray(5_000))
        alone = getrefcount(content)
        item = self.put(7, content)
        batch = self.batch()
        self.assertGreater(getrefcount(content), alone)
        self.clock.advance(ACCEPT_SECONDS)
        self.failureResultOf(item.answer, Unavailable)
        self.assertEqual(getrefcount(content), alone)
        batch.come_back(tried=True)
        self.assertEqual(self.forgotten(), [7])
