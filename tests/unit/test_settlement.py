"""mtad.outbound.settlement: gone, again or held."""

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.envelope import Recipient
from mtad.model.job import Disposal, Job, Settlement, Target
from mtad.model.outcome import Deferred, Delivered, Failed, Outcome, Scope
from mtad.outbound.settlement import HANDED_ON, MISSING, UNASKED, Schedule, hold, return_to_sender, settle
from tests.unit.directory_values import at

SCHEDULE = Schedule(retry_delay_seconds=300.0, max_retry_delay_seconds=14400.0, max_retries=30)
LATER = Deferred("disk full", Scope.HOST, "4.3.1")


def job(*attempts: int, notify: str | None = None) -> Job:
    targets = tuple(
        Target(
            Recipient(n, at(f"a{n}@acme.example"), at("b@acme.example"), "local:acme.example", notify),
            1,
            tried,
            432_000.0,
        )
        for n, tried in enumerate(attempts)
    )
    return Job(7, 10, "local:acme.example", None, 7, 100, 0.0, len(attempts), 1, targets)


class SettlementTest(SynchronousTestCase):
    def settled(self, outcome: Outcome, attempts: int = 0, now: float = 0.0) -> Settlement:
        return settle(job(attempts), [outcome], now, SCHEDULE, 0.5)

    def one(self, outcome: Outcome, attempts: int = 0, now: float = 0.0) -> tuple[Disposal, float, str]:
        settlement = self.settled(outcome, attempts, now)
        (result,), (event,) = settlement.results, settlement.events
        return result.disposal, result.due, event.kind

    def test_delivered_is_gone(self) -> None:
        self.assertEqual(self.one(Delivered("in new/")), (Disposal.GONE, 0.0, "delivered"))

    def test_deferred_comes_again_later_each_time(self) -> None:
        disposal, first, kind = self.one(LATER)
        self.assertEqual((disposal, kind), (Disposal.AGAIN, "deferred"))
        self.assertGreater(self.one(LATER, attempts=3)[1], 2 * first)

    def test_trouble_of_ours_uses_up_no_tries_and_lengthens_no_wait(self) -> None:
        ours = Deferred("internal trouble", Scope.OURS, "4.3.0")
        self.assertEqual(self.one(ours, attempts=30), (Disposal.UNTRIED, self.one(LATER)[1], "deferred"))
        self.assertEqual(self.one(ours, now=432_000.0)[0], Disposal.GONE)

    def test_the_last_try_is_at_the_end_of_the_lifetime(self) -> None:
        self.assertEqual(self.one(LATER, attempts=9, now=431_999.0), (Disposal.AGAIN, 432_000.0, "deferred"))

    def test_what_is_final_is_gone_with_its_reason(self) -> None:
        ends = {
            "it was refused for good": self.settled(Failed("no such user", Scope.RECIPIENT, "5.1.1")),
            "no retries are left": self.settled(LATER, attempts=30),
            "its lifetime is over": self.settled(LATER, now=432_000.0),
        }
        for reason, settlement in ends.items():
            (result,), (event,) = settlement.results, settlement.events
            self.assertEqual((result.disposal, result.undelivered), (Disposal.GONE, True))
            self.assertEqual((event.kind, event.facts["reason"]), ("failed", reason))

    def test_a_sender_hears_how_often_it_was_tried_and_for_how_long(self) -> None:
        spans = {
            (11, 432_000.0): "it was tried 12 times in 5 days, and is given up",
            (1, 435_600.0): "it was tried 2 times in 5 days, and is given up",
            (30, 3600.0): "it was tried 31 times in 1 hour, and is given up",
            (30, 125.0): "it was tried 31 times in 2 minutes, and is given up",
            (30, 5.0): "it was tried 31 times in less than a minute, and is given up",
            (0, 432_000.0): "it was tried once, and is given up",
        }
        for (attempts, now), reason in spans.items():
            self.assertEqual(self.settled(LATER, attempts, now).results[0].reason, reason)

    def test_what_is_delivered_or_comes_again_is_not_undelivered(self) -> None:
        for outcome in (Delivered("in new/"), LATER):
            self.assertFalse(self.settled(outcome).results[0].undelivered)

    def test_what_only_people_can_judge_is_held(self) -> None:
        settlement = hold(job(0, 3), MISSING, 5.0)
        self.assertEqual([result.disposal for result in settlement.results], [Disposal.HELD] * 2)
        (event,) = settlement.events
        self.assertEqual((event.kind, event.facts), ("held", {"reason": "the content of this message is missing"}))

    def test_each_recipient_has_its_own_end(self) -> None:
        settlement = settle(job(0, 0, 0), [Delivered("x"), LATER, Delivered("x")], 0.0, SCHEDULE, 0.5)
        self.assertEqual(
            [result.disposal for result in settlement.results], [Disposal.GONE, Disposal.AGAIN, Disposal.GONE]
        )
        self.assertFalse(settlement.whole)
        self.assertTrue(settle(job(0, 0), [Delivered("x")] * 2, 0.0, SCHEDULE, 0.5).whole)

    def test_the_story_says_why_nobody_is_told(self) -> None:
        refused = Failed("no such user", Scope.RECIPIENT, "5.1.1")
        for notify, why in ((None, None), ("FAILURE", None), ("NEVER", UNASKED), ("SUCCESS,DELAY", UNASKED)):
            for outcome, now in ((refused, 0.0), (LATER, 432_000.0)):
                (event,) = settle(job(0, notify=notify), [outcome], now, SCHEDULE, 0.5).events
                self.assertEqual((event.kind, event.facts.get("unreported")), ("failed", why), notify)
            (event,) = return_to_sender(job(0, 0, notify=notify), 1.0, "mtactl queue bounce").events
            self.assertEqual(event.facts.get("unreported"), why)

    def test_the_story_says_who_tells_of_a_success(self) -> None:
        for notify, dsn, why in (("SUCCESS", True, HANDED_ON), ("SUCCESS", False, None), (None, True, None)):
            (event,) = settle(job(0, notify=notify), [Delivered("250 ok", dsn=dsn)], 0.0, SCHEDULE, 0.5).events
            self.assertEqual(event.facts.get("unreported"), why)
