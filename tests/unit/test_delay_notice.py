"""mtad.scheduling.delay_notice: when a sender is told that a message is late."""

from twisted.trial.unittest import SynchronousTestCase

from mtad.scheduling.delay_notice import is_due


class DelayNoticeTest(SynchronousTestCase):
    def test_from_the_time_on_and_not_before(self) -> None:
        self.assertFalse(is_due(100.0, 100.0 + 14_399.0, 14_400.0, False))
        self.assertTrue(is_due(100.0, 100.0 + 14_400.0, 14_400.0, False))
        self.assertTrue(is_due(100.0, 100.0 + 400_000.0, 14_400.0, False))

    def test_once(self) -> None:
        self.assertFalse(is_due(100.0, 100.0 + 400_000.0, 14_400.0, True))

    def test_never_where_there_is_no_such_time(self) -> None:
        self.assertFalse(is_due(100.0, 100.0, 0.0, False))
        self.assertFalse(is_due(100.0, 1e9, 0.0, False))

    def test_a_clock_that_stepped_back_makes_nothing_late(self) -> None:
        self.assertFalse(is_due(100.0, 50.0, 1.0, False))
