"""mtad.outbound.duty: what a sender is to be told; mtad.outbound.bounce: the reports that tell it."""

from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from mtad.message.returned import MAX_HEADER_OCTETS
from mtad.model.address import Address
from mtad.model.envelope import PLAIN, Parameters, Recipient
from mtad.model.identity import print_id
from mtad.model.job import Job, Message, Settlement, Target
from mtad.model.outcome import Deferred, Delivered, Failed, Outcome, Remote, Scope
from mtad.model.report import Action
from mtad.model.route import Place, Route
from mtad.outbound import bounce
from mtad.outbound.bounce import MAX_RETURNED_OCTETS, Terms
from mtad.outbound.duty import duties
from mtad.outbound.settlement import MISSING, Schedule, hold, return_to_sender, settle
from tests.unit.directory_values import ACME, PENDING, at

SCHEDULE = Schedule(retry_delay_seconds=300.0, max_retry_delay_seconds=14400.0, max_retries=30)
HOUR = 3600.0
DELAY_NOTICE = 4 * HOUR
NOW = 50.0
ANN = at("ann@far.example")
FAR = Remote("mx.far.example", "192.0.2.1:25")
LATER = Deferred("disk full", Scope.HOST, "4.3.1")
OURS = Deferred("the directory does not answer", Scope.OURS, "4.3.0")
NO = Failed("mx.far.example: 550 5.1.1 no", Scope.RECIPIENT, "5.1.1", FAR)
STORED = Delivered("acme.example/b/new/17.x")
TAKEN = Delivered("250 2.0.0 queued", remote=FAR)
TAKEN_OVER = Delivered("250 2.0.0 queued", remote=FAR, dsn=True)
HEADER = b"Subject: x\r\nMessage-ID: <1@far.example>\r\n"
CONTENT = HEADER + b"\r\nbody\r\n"

LOCAL, MX = "local:acme.example", "mx:far.example"


def job(
    count_: int,
    *,
    sender: Address | None = ANN,
    attempts: int = 0,
    destination: str = LOCAL,
    notify: str | None = None,
    orcpt: str | None = None,
    expanded: bool = False,
    noticed: bool = False,
    parameters: Parameters = PLAIN,
) -> Job:
    targets = tuple(
        Target(
            Recipient(n, at(f"a{n}@acme.example"), at("b@acme.example"), destination, notify, orcpt, expanded),
            1,
            attempts,
            432_000.0,
            noticed,
        )
        for n in range(count_)
    )
    return Job(7, 10, destination, sender, 7, 100, 0.0, count_, 1, targets, parameters=parameters)


class DutyTest(SynchronousTestCase):
    def told(
        self, outcome: Outcome, now: float = NOW, delay_notice: float = DELAY_NOTICE, **terms: object
    ) -> list[str]:
        """Return what is to be told of a job of one recipient."""
        one = job(1, **terms)
        settled = settle(one, [outcome], now, SCHEDULE, 0.5)
        return [duty.action.value for duty in duties(one, settled, now, delay_notice)]

    def test_every_wish_and_every_end(self) -> None:
        late = 5 * HOUR
        rows: dict[str | None, tuple[list[str], ...]] = {
            # NOTIFY: here, relayed, relayed with DSN, failed, late
            None: ([], [], [], ["failed"], ["delayed"]),
            "NEVER": ([], [], [], [], []),
            "SUCCESS": (["delivered"], ["relayed"], [], [], []),
            "FAILURE": ([], [], [], ["failed"], []),
            "DELAY": ([], [], [], [], ["delayed"]),
            "SUCCESS,FAILURE,DELAY": (["delivered"], ["relayed"], [], ["failed"], ["delayed"]),
        }
        for notify, wanted in rows.items():
            got = (
                self.told(STORED, notify=notify),
                self.told(TAKEN, notify=notify, destination=MX),
                self.told(TAKEN_OVER, notify=notify, destination=MX),
                self.told(NO, notify=notify),
                self.told(LATER, late, notify=notify),
            )
            self.assertEqual(got, wanted, notify)

    def test_where_there_is_no_sender_nobody_is_told(self) -> None:
        for outcome in (STORED, TAKEN, NO, LATER):
            for notify in (None, "SUCCESS,FAILURE,DELAY"):
                self.assertEqual(self.told(outcome, 5 * HOUR, notify=notify, expanded=True, sender=None), [])

    def test_what_a_mail_store_takes_by_lmtp_is_delivered_and_by_smtp_relayed(self) -> None:
        by_lmtp, by_smtp = (
            Delivered("250 ok", remote=Remote("store", "/run/lmtp", store=store)) for store in (True, False)
        )
        self.assertEqual(self.told(by_lmtp, notify="SUCCESS"), ["delivered"])
        self.assertEqual(self.told(by_smtp, notify="SUCCESS"), ["relayed"])
        self.assertEqual(self.told(STORED, notify="SUCCESS", destination=MX), ["delivered"])

    def test_a_delay_is_told_late_once_and_only_of_what_comes_again(self) -> None:
        self.assertEqual(self.told(LATER, DELAY_NOTICE - 1), [])
        self.assertEqual(self.told(LATER, DELAY_NOTICE), ["delayed"])
        self.assertEqual(self.told(OURS, DELAY_NOTICE), ["delayed"])
        self.assertEqual(self.told(LATER, DELAY_NOTICE, noticed=True), [])
        self.assertEqual(self.told(LATER, DELAY_NOTICE, attempts=30), ["failed"])
        self.assertEqual(self.told(LATER, 5 * HOUR, delay_notice=0.0), [])
        self.assertEqual(self.told(STORED, 5 * HOUR), [])

    def test_an_alias_is_told_of_with_the_first_attempt_that_counts(self) -> None:
        for outcome, also in ((STORED, []), (LATER, []), (NO, ["failed"])):
            self.assertEqual(self.told(outcome, notify="FAILURE", expanded=True), ["expanded", *also])
            self.assertEqual(self.told(outcome, notify="FAILURE", expanded=True, attempts=1), also)
        self.assertEqual(self.told(OURS, notify="NEVER", expanded=True), [])

    def test_nobody_is_told_of_what_is_held(self) -> None:
        one = job(1)
        self.assertEqual(duties(one, hold(one, MISSING, 5 * HOUR), 5 * HOUR, DELAY_NOTICE), ())


class BounceCase(SynchronousTestCase):
    def settled(self, told: Job, *results: Outcome, now: float = NOW) -> Settlement:
        return settle(told, results, now, SCHEDULE, 0.5)

    def reported(
        self, told: Job, settlement: Settlement, content: bytes = CONTENT, route: Route | None = None, now: float = NOW
    ) -> Settlement:
        ids = count(99)
        terms = Terms(lambda: next(ids), 1, "mx.test", now, now + 400.0)
        due = duties(told, settlement, now, DELAY_NOTICE)
        return bounce.report(told, settlement, due, content, route or Route(ANN, None, "none"), terms)

    def one(self, settlement: Settlement) -> tuple[Message, str]:
        """Return the one report of a settlement, and its text."""
        (told,) = settlement.reports
        (message,) = told.report.messages
        self.assertEqual((told.report.content_id, message.content_id, message.size), (99, 99, len(told.report.content)))
        return message, bytes(told.report.content).decode()

    def text(self, told: Job, *results: Outcome, content: bytes = CONTENT, now: float = NOW) -> str:
        return self.one(self.reported(told, self.settled(told, *results, now=now), content, now=now))[1]


class FailedTest(BounceCase):
    def test_one_report_names_all_that_failed_and_nobody_else(self) -> None:
        told = job(4)
        message, text = self.one(self.reported(told, self.settled(told, NO, STORED, LATER, NO)))
        self.assertEqual(text.count("Final-Recipient"), 2)
        for n, named in enumerate((True, False, False, True)):
            self.assertEqual(f"Final-Recipient: rfc822; a{n}@acme.example" in text, named)
        self.assertNotIn("b@acme.example", text, "where an alias leads is nobody's business")
        self.assertIn("Remote-MTA: dns; mx.far.example", text)
        self.assertIn("Subject: x", text)
        self.assertNotIn("body", text)
        self.assertEqual((message.reverse_path, message.organisation, message.expires_at), (None, 1, 450.0))

    def test_a_report_asks_for_none(self) -> None:
        told = job(1, notify="SUCCESS,FAILURE,DELAY", orcpt="rfc822;a", parameters=Parameters(True, "FULL", "e"))
        message, _ = self.one(self.reported(told, self.settled(told, NO)))
        (to,) = message.recipients
        self.assertEqual((message.parameters, to.notify, to.orcpt), (PLAIN, None, None))

    def test_what_ran_out_is_of_class_four(self) -> None:
        text = self.text(job(1, attempts=30), LATER)
        self.assertIn("Status: 4.4.7", text)
        self.assertIn("disk full", text)

    def test_a_sender_hears_no_more_than_concerns_them(self) -> None:
        said = Failed("550 no (in reply to RCPT)", Scope.RECIPIENT, "5.1.1", told="550 no")
        late = Deferred("DNS: MX a.test: timeout (127.0.0.1:35353: no)", Scope.HOST, "4.4.3", told="DNS: timeout")
        text = self.text(job(2, attempts=30), said, late)
        self.assertIn("Diagnostic-Code: smtp; 550 no\r\n", text)
        self.assertIn("Diagnostic-Code: X-mtad; DNS: timeout\r\n", text)
        self.assertNotIn("in reply to", text)
        self.assertNotIn("127.0.0.1", text)
        self.assertEqual(text.count("Last-Attempt-Date"), 2)

    def test_of_our_own_trouble_a_sender_hears_no_more_than_that(self) -> None:
        away = Deferred("the directory does not answer: 10.0.0.5 is gone", Scope.OURS, "4.3.0")
        for now in (5 * HOUR, 432_000.0):
            text = self.text(job(1), away, now=now)
            self.assertIn("Diagnostic-Code: X-mtad; this server has trouble of its own\r\n", text)
            self.assertNotIn("10.0.0.5", text)

    def test_what_is_final_is_of_class_five_whatever_the_remote_called_it(self) -> None:
        self.assertIn("Status: 5.2.2", self.text(job(1), Failed("550 4.2.2 odd", Scope.RECIPIENT, "4.2.2")))

    def test_the_stories_name_each_other(self) -> None:
        told = job(2)
        settlement = self.reported(told, self.settled(told, NO, STORED))
        message, _ = self.one(settlement)
        self.assertEqual([each.facts.get("report") for each in settlement.events], [print_id(99), None])
        self.assertEqual([each.kind for each in message.events], ["reporting", "routed"])
        self.assertEqual((message.events[0].facts["about"], message.events[0].facts["action"]), (print_id(7), "failed"))
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
        told = job(1)
        for route, places in ways.items():
            message, _ = self.one(self.reported(told, self.settled(told, NO), route=route))
            self.assertEqual([(str(to.address), to.destination) for to in message.recipients], places)
            self.assertEqual({to.original for to in message.recipients}, {ANN})

    def test_what_somebody_returned_says_so(self) -> None:
        told = job(2)
        settlement = return_to_sender(told, NOW, "mtactl queue bounce")
        self.assertTrue(settlement.whole)
        reported = self.reported(told, settlement, b"")
        _, text = self.one(reported)
        self.assertIn("somebody who looks after this server returned it", text)
        self.assertEqual(text.count("Status: 5.0.0"), 2)
        self.assertNotIn("Last-Attempt-Date", text)
        self.assertNotIn("rfc822-headers", text)
        (event,) = reported.events
        self.assertEqual(
            (event.kind, event.facts["by"], event.facts["report"]), ("failed", "mtactl queue bounce", print_id(99))
        )


class ReturnedTest(BounceCase):
    def test_the_whole_message_is_returned_when_that_is_asked_for(self) -> None:
        for ret, whole in (("FULL", True), ("HDRS", False), (None, False)):
            text = self.text(job(1, parameters=Parameters(ret=ret)), NO)
            self.assertEqual(("message/rfc822\r\n" in text, "\r\n\r\nbody\r\n" in text), (whole, whole), ret)
            self.assertIn("Subject: x\r\n", text)

    def test_only_of_failures(self) -> None:
        text = self.text(job(1, notify="SUCCESS", parameters=Parameters(ret="FULL")), STORED)
        self.assertNotIn("body", text)

    def test_only_of_messages_that_are_not_large(self) -> None:
        full = job(1, parameters=Parameters(ret="FULL"))
        largest = CONTENT + b"y\r\n" * ((MAX_RETURNED_OCTETS - len(CONTENT)) // 3)
        self.assertIn("message/rfc822\r\n", self.text(full, NO, content=largest))
        self.assertNotIn("message/rfc822\r\n", self.text(full, NO, content=largest + b"y\r\ny\r\n"))

    def test_as_much_of_the_header_as_is_returned_is_looked_at(self) -> None:
        line = b"X-Long: " + b"y" * 54 + b"\r\n"
        most = MAX_HEADER_OCTETS // len(line)
        for lines in (most - 1, most, most + 1, most + 100):
            text = self.text(job(1), NO, content=line * lines + b"\r\nbody\r\n")
            self.assertEqual(text.count("X-Long"), min(lines, most))
            self.assertNotIn("body", text)

    def test_the_senders_own_names_come_back(self) -> None:
        told = job(1, orcpt="rfc822;b+2Bx@far.example", parameters=Parameters(envid="QQ+2B314"))
        text = self.text(told, NO)
        self.assertIn("Original-Envelope-Id: QQ+314\r\n", text)
        self.assertIn("Original-Recipient: rfc822; b+x@far.example\r\n", text)
        self.assertIn("Final-Recipient: rfc822; a0@acme.example\r\n", text)


class OtherTest(BounceCase):
    def test_what_was_delivered_tells_nothing_of_this_server(self) -> None:
        text = self.text(job(1, notify="SUCCESS"), STORED)
        self.assertIn("Action: delivered\r\nStatus: 2.0.0\r\nLast-Attempt-Date:", text)
        self.assertIn("Subject: Your message was delivered\r\n", text)
        self.assertNotIn("/new/", text)

    def test_what_was_relayed_says_to_whom(self) -> None:
        text = self.text(job(1, notify="SUCCESS", destination=MX), TAKEN)
        self.assertIn("Action: relayed\r\nStatus: 2.0.0\r\nRemote-MTA: dns; mx.far.example\r\n", text)
        self.assertIn("Diagnostic-Code: smtp; 250 2.0.0 queued\r\n", text)
        self.assertIn("Subject: Your message was passed on\r\n", text)

    def test_what_is_late_says_until_when_it_is_tried(self) -> None:
        told = job(2)
        settlement = self.reported(told, self.settled(told, LATER, STORED, now=5 * HOUR), now=5 * HOUR)
        _, text = self.one(settlement)
        self.assertIn("Action: delayed\r\nStatus: 4.3.1\r\n", text)
        self.assertIn("Will-Retry-Until: Tue, 06 Jan 1970 00:00:00 +0000\r\n", text)
        self.assertEqual([result.noticed for result in settlement.results], [True, False])
        self.assertEqual([each.facts.get("report") for each in settlement.events], [print_id(99), None])

    def test_each_thing_to_tell_has_a_report(self) -> None:
        told = job(4, notify="SUCCESS,FAILURE,DELAY", expanded=True)
        settlement = self.reported(told, self.settled(told, STORED, LATER, NO, STORED, now=5 * HOUR), now=5 * HOUR)
        rows = {each.action: (each.report.content_id, each.rows) for each in settlement.reports}
        self.assertEqual(rows, {
            Action.DELIVERED: (99, (0, 3)),
            Action.EXPANDED: (100, (0, 1, 2, 3)),
            Action.DELAYED: (101, (1,)),
            Action.FAILED: (102, (2,)),
        })  # fmt: skip
        for each in settlement.reports:
            text = bytes(each.report.content).decode()
            self.assertEqual(text.count(f"Action: {each.action.value}\r\n"), len(each.rows))
            self.assertEqual(text.count("\r\nAction: "), len(each.rows))
        named = [(event.facts.get("report"), event.facts.get("expansion_report")) for event in settlement.events]
        self.assertEqual(named, [(print_id(number), print_id(100)) for number in (99, 101, 102, 99)])
