"""IWallClock: dates that are dates, and a boot time that never steps back."""

import os
import time

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mtad.adapters.clock import SystemClock
from mtad.interfaces import IWallClock
from mtad.model.identity import EPOCH_SECONDS
from mtad.testing.clock import MemoryWallClock


class WallClockContract:
    clock: IWallClock

    def test_provides_the_port(self) -> None:
        verifyObject(IWallClock, self.clock)

    def test_dates_are_epoch_seconds_of_these_years(self) -> None:
        self.assertIsInstance(self.clock.now(), float)
        self.assertTrue(EPOCH_SECONDS < self.clock.now() < EPOCH_SECONDS + 100 * 365 * 86400)

    def test_boottime_does_not_step_back(self) -> None:
        seen = [self.clock.boottime() for _ in range(1000)]
        self.assertEqual(seen, sorted(seen))
        self.assertGreater(seen[0], 0)


class SystemClockTest(WallClockContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = SystemClock()

    def test_the_date_is_the_kernels(self) -> None:
        path = self.mktemp()
        before = self.clock.now()
        with open(path, "w"):
            pass
        self.assertTrue(before - 0.1 <= os.stat(path).st_mtime <= self.clock.now() + 0.1)

    def test_boottime_counts_from_boot(self) -> None:
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.assertTrue(before <= self.clock.boottime() <= time.clock_gettime(time.CLOCK_BOOTTIME))


class MemoryWallClockTest(WallClockContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.timers = Clock()
        self.clock = MemoryWallClock(self.timers, start=1_750_000_000.0)

    def readings(self) -> tuple[float, float]:
        return self.clock.now(), self.clock.boottime()

    def test_both_follow_the_timers(self) -> None:
        now, boottime = self.readings()
        self.assertEqual(now, 1_750_000_000.0)
        self.timers.advance(5.5)
        self.assertEqual(self.readings(), (now + 5.5, boottime + 5.5))

    def test_a_step_moves_the_date_alone(self) -> None:
        now, boottime = self.readings()
        self.clock.step(-3600)
        self.assertEqual(self.readings(), (now - 3600, boottime))

    def test_sleep_moves_both_and_no_timer(self) -> None:
        now, boottime = self.readings()
        self.clock.suspend(60)
        self.assertEqual(self.readings(), (now + 60, boottime + 60))
        self.assertEqual(self.timers.seconds(), 0)
