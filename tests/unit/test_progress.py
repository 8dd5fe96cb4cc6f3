"""mtad.ctl.selecting.Progress: long work tells how far it is, and not too often."""

import sys
from io import StringIO

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.ctl.selecting import Progress
from mtad.testing.clock import MemoryWallClock


class ProgressTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told = StringIO()
        self.patch(sys, "stderr", self.told)
        self.patch(sys, "stdout", StringIO())
        self.progress = Progress(MemoryWallClock(self.clock))

    def test_long_work_tells_once_a_second_how_far_it_is(self) -> None:
        for _ in range(10):
            self.clock.advance(0.3)
            self.progress.add(1_000)
        self.assertEqual(self.told.getvalue(), "\u2026 4000 recipients\n\u2026 8000 recipients\n")
        self.assertEqual((self.progress.count, sys.stdout.getvalue()), (10_000, ""))

    def test_short_work_tells_nothing(self) -> None:
        self.clock.advance(0.9)
        self.progress.add(1_000)
        self.assertEqual(self.told.getvalue(), "")
