"""How long a stop waits for what is under way."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.outbound.tasks import Tasks, in_time
from mtad.testing.journal import MemoryJournal


class InTimeTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.journal = MemoryJournal()
        self.tasks = Tasks(self.clock, self.journal)
        self.work: Deferred[None] = Deferred()
        self.tasks.start(self.working(), "work")

    async def working(self) -> None:
        await self.work

    def stopping(self, seconds: float) -> "Deferred[None]":
        ending = Deferred.fromCoroutine(self.tasks.stop())
        return Deferred.fromCoroutine(in_time(ending, seconds, self.clock))

    def test_what_ends_is_waited_for(self) -> None:
        stopping = self.stopping(5)
        self.assertNoResult(stopping)
        self.work.callback(None)
        self.successResultOf(stopping)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_does_not_end_is_not(self) -> None:
        stopping = self.stopping(5)
        self.clock.advance(4.9)
        self.assertNoResult(stopping)
        self.clock.advance(0.1)
        self.successResultOf(stopping)
        self.work.callback(None)
        self.assertEqual(self.journal.records, [])

    def test_when_the_time_is_over_already_it_is_only_looked_at(self) -> None:
        stopping = self.stopping(-0.001)
        self.clock.advance(0)
        self.successResultOf(stopping)
        self.work.callback(None)
        self.successResultOf(self.stopping(-0.001))
