"""mtad.outbound.settlement: gone, again or held."""

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.envelope import Recipient
from mtad.model.job import Disposal, Job, Target
from mtad.model.outcome import Deferred, Delivered, Failed, Outcome, Scope
from mtad.outbound.settlement import Schedule, settle
from tests.unit.directory_values import at

SCHEDULE = Schedule(retry_delay_seconds=300.0, max_retry_delay_seconds=14400.0, max_retries=30)
LATER = Deferred("disk full", Scope.HOST, "4.3.1")


def job(*attempts: int, expires_at: float = 432_000.0) -> Job:
    targets = tuple(
        Target(Recipient(n, at("a@acme.example"), at("a@acme.example"), "local:acme.example"), 1, tried, expires_at)
        for n, tried in enumerate(attempts)
    )
    return Job(7, 10, "local:acme.example", None, 7, 100, 0.0, len(attempts), 1, targets)


class SettlementTest(SynchronousTestCase):
    def one(self, outcome: Outcome, attempts: int = 0, now: float = 0.0) -> tuple[Disposal, float, str]:
        settlement = settle(job(attempts), [outcome], now, SCHEDULE, lambda: 0.5)
        (result,), (event,) = settlement.results, settlement.events
        return result.disposal, result.due, event.kind

    def test_delivered_is_gone(self) -> None:
        self.assertEqual(self.one(Delivered("in new/")), (Disposal.GONE, 0.0, "delivered"))

    def test_deferred_comes_again_later_each_time(self) -> None:
        disposal, first, kind = self.one(LATER)
        self.assertEqual((disposal, kind), (Disposal.AGAIN, "deferred"))
        self.assertGreater(self.one(LATER, attempts=3)[1], 2 * first)

    def test_nothing_acknowledged_leaves_the_queue_unserved(self) -> None:
        self.assertEqual(self.one(Failed("no such user", Scope.RECIPIENT))[0], Disposal.HELD)
        self.assertEqual(self.one(LATER, attempts=30)[0], Disposal.HELD)
        self.assertEqual(self.one(LATER, now=431_999.0)[0], Disposal.HELD)

    def test_each_recipient_has_its_own_end(self) -> None:
        settlement = settle(job(0, 0, 0), [Delivered("x"), LATER, Delivered("x")], 0.0, SCHEDULE, lambda: 0.5)
        self.assertEqual(
            [result.disposal for result in settlement.results], [Disposal.GONE, Disposal.AGAIN, Disposal.GONE]
        )
        self.assertFalse(settlement.whole)
        self.assertTrue(settle(job(0, 0), [Delivered("x")] * 2, 0.0, SCHEDULE, lambda: 0.5).whole)
