"""IOffload: work done elsewhere, in order, with its result or its error; threads and twin alike."""

import sys
import threading

from twisted.internet import reactor as real_reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from mtad.adapters.offload import SWITCH_SECONDS, ThreadedOffload
from mtad.interfaces import IOffload
from mtad.model.errors import Unavailable
from mtad.testing.offload import MemoryOffload


class OffloadContract:
    timeout = 10
    offload: IOffload

    def test_provides_the_port(self) -> None:
        verifyObject(IOffload, self.offload)

    async def test_fires_with_what_the_work_returns(self) -> None:
        self.assertEqual(await self.offload.run(divmod, 17, 5), (3, 2))

    async def test_fails_with_what_the_work_raises(self) -> None:
        try:
            await self.offload.run(int, "no number")
        except ValueError as error:
            self.assertIn("no number", str(error))
        else:
            self.fail("expected a ValueError")

    async def test_begins_first_come_first_served(self) -> None:
        begun: list[int] = []
        await gatherResults([self.offload.run(begun.append, number) for number in range(50)])
        self.assertEqual(begun, list(range(50)))

    async def test_an_error_is_the_failed_works_alone(self) -> None:
        runs = [self.offload.run(int, word) for word in ("1", "x", "3")]
        runs[1].addErrback(lambda failure: failure.trap(ValueError) and None)
        self.assertEqual(await gatherResults(runs), [1, None, 3])

    async def test_a_cancelled_run_troubles_nobody(self) -> None:
        first = self.offload.run(int, "1")
        first.cancel()
        first.addErrback(lambda _: None)
        self.assertEqual(await self.offload.run(int, "2"), 2)


class MemoryOffloadTest(OffloadContract, TestCase):
    def setUp(self) -> None:
        self.offload = MemoryOffload()


class ThreadedOffloadTest(OffloadContract, TestCase):
    def setUp(self) -> None:
        # With more than one thread work begins in order too, but what it does could be seen out of order.
        self.offload = ThreadedOffload(real_reactor, 1)
        self.offload.startService()
        self.addCleanup(self.offload.stopService)

    async def test_the_reactor_is_not_held(self) -> None:
        released = threading.Event()
        waiting = self.offload.run(released.wait, 5)
        turned: Deferred[None] = Deferred()
        real_reactor.callLater(0, turned.callback, None)
        await turned
        self.assertFalse(waiting.called)
        released.set()
        self.assertTrue(await waiting)

    async def test_results_arrive_in_the_reactors_thread(self) -> None:
        seen: list[threading.Thread] = []
        working = self.offload.run(threading.current_thread)
        working.addCallback(lambda thread: seen.extend([thread, threading.current_thread()]))
        await working
        self.assertIsNot(seen[0], threading.current_thread())
        self.assertIs(seen[1], threading.current_thread())


class LifeTest(TestCase):
    """Starting and stopping."""

    timeout = 10

    async def test_as_many_works_run_abreast_as_there_are_threads(self) -> None:
        offload = ThreadedOffload(real_reactor, 3)
        offload.startService()
        all_there = threading.Barrier(3)
        await gatherResults([offload.run(all_there.wait, 5) for _ in range(3)])
        await offload.stopService()

    async def test_work_given_before_the_start_waits_for_it(self) -> None:
        offload = ThreadedOffload(real_reactor, 1)
        working = offload.run(int, "7")
        offload.startService()
        self.assertEqual(await working, 7)
        await offload.stopService()

    async def test_stopping_waits_for_all_that_was_taken(self) -> None:
        offload = ThreadedOffload(real_reactor, 2)
        offload.startService()
        released = threading.Event()
        done: list[int] = []
        for number in range(5):
            offload.run(released.wait, 5).addCallback(lambda _, number=number: done.append(number))
        stopped = offload.stopService()
        self.assertFalse(stopped.called)
        released.set()
        await stopped
        self.assertEqual(sorted(done), [0, 1, 2, 3, 4])
        self.assertEqual([thread for thread in threading.enumerate() if thread.name.startswith("offload")], [])

    async def test_nothing_is_taken_once_it_stops(self) -> None:
        offload = ThreadedOffload(real_reactor, 1)
        offload.startService()
        await offload.stopService()
        self.failureResultOf(offload.run(int, "1"), Unavailable)

    async def test_the_switch_interval_is_given_back(self) -> None:
        usual = sys.getswitchinterval()
        offload = ThreadedOffload(real_reactor, 1)
        offload.startService()
        self.assertAlmostEqual(sys.getswitchinterval(), SWITCH_SECONDS)
        await offload.stopService()
        self.assertAlmostEqual(sys.getswitchinterval(), usual)


class MemoryOffloadOrdersTest(SynchronousTestCase):
    """What only the twin can do: wait and fail when told."""

    def setUp(self) -> None:
        self.offload = MemoryOffload()

    def test_held_work_waits_its_turn(self) -> None:
        self.offload.hold()
        first, second = self.offload.run(int, "1"), self.offload.run(int, "2")
        self.assertNoResult(first)
        self.assertEqual(self.offload.waiting, 2)
        self.offload.release_next()
        self.assertEqual(self.successResultOf(first), 1)
        self.assertNoResult(second)
        self.offload.release()
        self.assertEqual(self.successResultOf(second), 2)
        self.assertEqual(self.successResultOf(self.offload.run(int, "3")), 3)

    def test_failures_are_given_to_the_next_runs_instead_of_their_work(self) -> None:
        done: list[int] = []
        self.offload.fail_next(OSError("disk full"), times=2)
        for number in (1, 2):
            self.failureResultOf(self.offload.run(done.append, number), OSError)
        self.successResultOf(self.offload.run(done.append, 3))
        self.assertEqual(done, [3])
