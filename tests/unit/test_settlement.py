"""mtad.outbound.settlement: gone, again or held; and mtad.outbound.bounce: what the sender is told of it."""

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.envelope import Recipient
from mtad.model.identity import print_id
from mtad.model.job import Disposal, Job, Message, Settlement, Target
from mtad.model.outcome import Deferred, Delivered, Failed, Outcome, Remote, Scope
from mtad.model.route import Place, Route
from mtad.outbound import bounce
from mtad.outbound.bounce import Terms
from mtad.outbound.settlement import MISSING, Schedule, hold, return_to_sender, settle
from tests.unit.directory_values import ACME, PENDING, at

SCHEDULE = Schedule(retry_delay_seconds=300.0, max_retry_delay_seconds=14400.0, max_retries=30)
LATER = Deferred("disk full", Scope.HOST, "4.3.1")


def job(*attempts: int, expires_at: float = 432_000.0, reverse_path: Address | None = None) -> Job:
    targets = tuple(
        Target(Recipient(n, at(f"a{n}@acme.example"), at("b@acme.example"), "local:acme.example"), 1, tried, expires_at)
        for n, tried in enumerate(attempts)
    )
    return Job(7, 10, "local:acme.example", reverse_path, 7, 100, 0.0, len(attempts), 1, targets)


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


ANN = at("ann@far.example")
TERMS = Terms(id=99, organisation=1, hostname="mx.test", now=50.0, expires_at=450.0)
NO = Failed("mx.far.example: 550 5.1.1 no", Scope.RECIPIENT, "5.1.1", Remote("mx.far.example", "192.0.2.1:25"))
CONTENT = b"Subject: x\r\nMessage-ID: <1@far.example>\r\n\r\nbody\r\n"


class BounceTest(SynchronousTestCase):
    def settled(self, *results: Outcome, sender: Address | None = ANN, attempts: int = 0) -> tuple[Job, Settlement]:
        told = job(*[attempts] * len(results), reverse_path=sender)
        return told, settle(told, results, 50.0, SCHEDULE, 0.5)

    def report(
        self, *results: Outcome, route: Route | None = None, attempts: int = 0
    ) -> tuple[Settlement, Message, str]:
        settlement = bounce.report(
            *self.settled(*results, attempts=attempts), CONTENT, route or Route(ANN, None, "none"), TERMS
        )
        (acceptance,) = settlement.reports
        (message,) = acceptance.messages
        self.assertEqual((acceptance.content_id, message.content_id, message.size), (99, 99, len(acceptance.content)))
        return settlement, message, acceptance.content.decode()

    def test_a_sender_is_told_of_what_failed(self) -> None:
        self.assertTrue(bounce.is_due(*self.settled(Delivered("x"), NO)))
        self.assertTrue(bounce.is_due(*self.settled(LATER, attempts=30)))
        self.assertFalse(bounce.is_due(*self.settled(Delivered("x"), LATER)))

    def test_nobody_is_told_of_a_report_or_of_what_is_held(self) -> None:
        self.assertFalse(bounce.is_due(*self.settled(NO, sender=None)))
        told = job(0, reverse_path=ANN)
        self.assertFalse(bounce.is_due(told, hold(told, MISSING, 1.0)))

    def test_one_report_names_all_that_failed_and_nobody_else(self) -> None:
        _, message, text = self.report(NO, Delivered("x"), LATER, NO)
        self.assertEqual(text.count("Final-Recipient"), 2)
        for n, named in enumerate((True, False, False, True)):
            self.assertEqual(f"Final-Recipient: rfc822; a{n}@acme.example" in text, named)
        self.assertNotIn("b@acme.example", text, "where an alias leads is nobody's business")
        self.assertIn("Remote-MTA: dns; mx.far.example", text)
        self.assertIn("Subject: x", text)
        self.assertNotIn("body", text)
        self.assertEqual((message.reverse_path, message.organisation, message.expires_at), (None, 1, 450.0))

    def test_what_ran_out_is_of_class_four(self) -> None:
        _, _, text = self.report(LATER, attempts=30)
        self.assertIn("Status: 4.4.7", text)
        self.assertIn("disk full", text)

    def test_a_sender_hears_no_more_than_concerns_them(self) -> None:
        said = Failed("550 no (in reply to RCPT)", Scope.RECIPIENT, "5.1.1", told="550 no")
        late = Deferred("DNS: MX a.test: timeout (127.0.0.1:35353: no)", Scope.HOST, "4.4.3", told="DNS: timeout")
        _, _, text = self.report(said, late, attempts=30)
        self.assertIn("Diagnostic-Code: smtp; 550 no\r\n", text)
        self.assertIn("Diagnostic-Code: X-mtad; DNS: timeout\r\n", text)
        self.assertNotIn("in reply to", text)
        self.assertNotIn("127.0.0.1", text)
        self.assertEqual(text.count("Last-Attempt-Date"), 2)

    def test_what_is_final_is_of_class_five_whatever_the_remote_called_it(self) -> None:
        _, _, text = self.report(Failed("550 4.2.2 odd", Scope.RECIPIENT, "4.2.2"))
        self.assertIn("Status: 5.2.2", text)

    def test_the_stories_name_each_other(self) -> None:
        settlement, message, _ = self.report(NO, Delivered("x"))
        self.assertEqual([each.facts.get("report") for each in settlement.events], [print_id(99), None])
        self.assertEqual([each.kind for each in message.events], ["reporting", "routed"])
        self.assertEqual(message.events[0].facts["about"], print_id(7))
        self.assertIn("ann@far.example", message.keys)

    def test_where_it_goes(self) -> None:
        elsewhere = ("ann@far.example", "mx:far.example")
        ways = {
            Route(ANN, None, "none"): [elsewhere],
            Route(ANN, PENDING, "none"): [elsewhere],
            Route(ANN, ACME, "none"): [("ann@far.example", "local:acme.example")],
            Route(
                ANN,
                ACME,
                "alias",
                (Place(at("c@acme.example"), "local:acme.example"), Place(at("d@x.example"), "mx:x")),
            ): [
                ("c@acme.example", "local:acme.example"),
                ("d@x.example", "mx:x"),
            ],
        }
        for route, places in ways.items():
            _, message, _ = self.report(NO, route=route)
            self.assertEqual([(str(to.address), to.destination) for to in message.recipients], places)
            self.assertEqual({to.original for to in message.recipients}, {ANN})

    def test_what_somebody_returned_says_so(self) -> None:
        told = job(0, 0, reverse_path=ANN)
        settlement = return_to_sender(told, 50.0, "mtactl queue bounce")
        self.assertTrue(settlement.whole)
        reported = bounce.report(told, settlement, b"", Route(ANN, None, "none"), TERMS)
        text = reported.reports[0].content.decode()
        self.assertIn("somebody who looks after this server returned it", text)
        self.assertEqual(text.count("Status: 5.0.0"), 2)
        self.assertNotIn("Last-Attempt-Date", text)
        self.assertNotIn("rfc822-headers", text)
        (event,) = reported.events
        self.assertEqual(
            (event.kind, event.facts["by"], event.facts["report"]), ("failed", "mtactl queue bounce", print_id(99))
        )
