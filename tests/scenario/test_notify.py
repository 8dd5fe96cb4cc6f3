"""What senders ask to be told (RFC 3461), on the whole server: every wish, every end, every kind of next hop."""

from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mtad.config.kinds import Seconds
from mtad.config.sections import Queue
from mtad.inbound.envelopes import Stamp, address_messages
from mtad.inbound.routing import RoutingService
from mtad.interfaces import IAcceptance
from mtad.model.address import Address, from_plain
from mtad.model.envelope import PLAIN, Parameters, Peer, Recipient
from mtad.model.identity import parse_id
from mtad.model.job import Acceptance, Message
from mtad.model.tenant import LmtpDelivery, SmtpDelivery
from mtad.testing.scripted import Answer, ScriptedServer
from mtad.testing.world import DAY, HOUR, MINUTE, World

LMTP, SMTP, FAR = "127.0.0.1:2424", "127.0.0.1:2526", "192.0.2.25:25"
ALICE = from_plain("alice@acme.example")
CONTENT = b"Subject: the plan\r\nMessage-ID: <plan@acme.example>\r\n\r\nsecret\r\n"
DSN = b"250-mx.remote.example\r\n250 DSN\r\n"
ALL = "SUCCESS,FAILURE,DELAY"


class NotifyCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.furnish(self.world)

    def furnish(self, world: World) -> None:
        world.host("alice@acme.example", "bob@acme.example", "cid@acme.example")
        world.host("ann@store.example", delivery=LmtpDelivery(LMTP))
        world.zone["remote.example"] = ["MX 10 mx.remote.example"]
        world.zone["mx.remote.example"] = ["A 192.0.2.25"]

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])

    def serve(self, where: str = FAR, **script: Answer) -> ScriptedServer:
        """Let a server answer its verbs so."""
        server = ScriptedServer(b"220 ready\r\n", {verb.encode(): answer for verb, answer in script.items()})
        self.world.network.serve(where, server)
        return server

    def sent(
        self,
        to: str,
        notify: str | None,
        *,
        orcpt: str | None = None,
        sender: Address | None = ALICE,
        parameters: Parameters = PLAIN,
        world: World | None = None,
    ) -> int:
        """Accept a message, and let happen what happens at once."""
        world = world or self.world
        queue = world.server.getServiceNamed("queue")
        assert IAcceptance.providedBy(queue)
        number, now, address = queue.next_id(), world.wall.now(), from_plain(to)
        lane = "mx" if address.domain == "remote.example" else "local"
        recipient = Recipient(0, address, address, f"{lane}:{address.domain}", notify, orcpt)
        message = Message(
            id=number,
            organisation=1,
            direction="outbound",
            reverse_path=sender,
            recipients=(recipient,),
            content_id=number,
            size=len(CONTENT),
            received_at=now,
            expires_at=now + world.settings.queue.lifetime,
            parameters=parameters,
        )
        accepted: Deferred[None] = queue.accept(Acceptance(number, CONTENT, (message,)))
        world.turn()
        self.assertIsNone(self.successResultOf(accepted))
        return number

    def reports(self, address: str = "alice@acme.example", world: World | None = None) -> list[EmailMessage]:
        return [message_from_bytes(octets, policy=policy.default) for octets in (world or self.world).mail(address)]

    def fields(self, report: EmailMessage) -> EmailMessage:
        """Return what a report says of its one recipient."""
        (_, recipient) = list(report.iter_parts())[1].get_payload()
        return recipient

    def actions(self) -> list[str]:
        return [self.fields(report)["Action"] for report in self.reports()]


class WishesTest(NotifyCase):
    """One message for each row; an end is what becomes of it at the next hop."""

    def ends(self, to: str, notify: str | None, after: float = 5.0) -> list[str]:
        before = len(self.actions())
        self.sent(to, notify)
        self.world.advance(after, step=8.0)
        return self.actions()[before:]

    def rows(self, to: str, told: dict[str | None, list[str]], after: float = 5.0) -> None:
        for notify, wanted in told.items():
            self.assertEqual(self.ends(to, notify, after), wanted, notify)

    def test_delivered_into_a_maildir(self) -> None:
        success = ["delivered"]
        self.rows(
            "bob@acme.example",
            {None: [], "NEVER": [], "FAILURE": [], "DELAY": [], "SUCCESS": success, ALL: success},
        )
        self.assertEqual(len(self.world.mail("bob@acme.example")), 6)

    def test_delivered_to_a_mail_store(self) -> None:
        self.serve(LMTP)
        self.rows("ann@store.example", {None: [], "NEVER": [], "FAILURE": [], "SUCCESS": ["delivered"]})

    def test_taken_by_a_mail_store_that_reports_itself(self) -> None:
        server = self.serve(LMTP, LHLO=DSN)
        self.rows("ann@store.example", {None: [], "SUCCESS": [], ALL: []})
        self.assertEqual(len(server.messages), 3)

    def test_taken_by_a_server_without_dsn(self) -> None:
        server = self.serve()
        relayed = ["relayed"]
        self.rows(
            "bob@remote.example",
            {None: [], "NEVER": [], "FAILURE": [], "DELAY": [], "SUCCESS": relayed, ALL: relayed},
        )
        self.assertFalse([line for line in server.lines if b"NOTIFY" in line])

    def test_taken_by_a_server_with_dsn(self) -> None:
        server = self.serve(EHLO=DSN)
        self.rows("bob@remote.example", {None: [], "NEVER": [], "FAILURE": [], "SUCCESS": [], ALL: []})
        said = [line for line in server.lines if line.startswith(b"RCPT")]
        self.assertEqual(
            [
                b" NOTIFY=%s " % wish in line + b" "
                for wish, line in zip((b"NEVER", b"FAILURE"), said[1:], strict=False)
            ],
            [True, True],
        )

    def test_refused_for_good(self) -> None:
        failed = ["failed"]
        wishes: dict[str | None, list[str]] = {
            None: failed, "NEVER": [], "SUCCESS": [], "DELAY": [], "FAILURE": failed, ALL: failed,
        }  # fmt: skip
        server = self.serve(RCPT=b"550 5.1.1 no such user\r\n")
        for hello in (b"250 mx.remote.example\r\n", DSN):
            server.script[b"EHLO"] = hello
            self.rows("bob@remote.example", wishes)
            # Until the connection is given up, and the next server's hello counts.
            self.world.advance(15)

    def test_late_and_then_expired(self) -> None:
        brief = Queue(lifetime=Seconds(6 * HOUR), delay_notice=Seconds(HOUR))
        self.world = World(self.world.path, configured=structs.replace(self.world.settings, queue=brief))
        self.furnish(self.world)
        wishes: dict[str | None, list[str]] = {
            None: ["delayed", "failed"], "NEVER": [], "SUCCESS": [], "DELAY": ["delayed"], "FAILURE": ["failed"],
            ALL: ["delayed", "failed"],
        }  # fmt: skip
        for number, notify in enumerate(wishes):
            self.sent(f"user{number}@remote.example", notify)
        self.world.advance(7 * HOUR, step=8.0)
        told: list[list[str]] = [[] for _ in wishes]
        for report in self.reports():
            fields = self.fields(report)
            told[int(fields["Final-Recipient"][len("rfc822; user")])].append(fields["Action"])
        self.assertEqual(dict(zip(wishes, told, strict=True)), wishes)


class DelayTest(NotifyCase):
    def test_a_delay_is_told_once_though_the_server_ends_in_between(self) -> None:
        message = self.sent("bob@remote.example", None)
        self.world.advance(3.9 * HOUR, step=8.0)
        self.assertEqual(self.reports(), [])
        self.world.advance(1.5 * HOUR, step=8.0)
        (report,) = self.reports()
        self.assertEqual(report["Subject"], "Your message is late")
        fields = self.fields(report)
        self.assertEqual((fields["Action"], fields["Status"]), ("delayed", "4.4.1"))
        self.assertEqual(parsedate_to_datetime(fields["Will-Retry-Until"]).timestamp(), self.expiry(message))
        self.world.crash()
        self.world = self.world.another()
        self.world.advance(DAY, step=8.0)
        self.assertEqual(len(self.reports()), 1)
        named = [event.facts["report"] for event in self.world.story(message) if "report" in event.facts]
        self.assertEqual(len(named), 1)
        self.assertEqual(self.world.story(parse_id(str(named[0])))[0].facts["action"], "delayed")

    def expiry(self, message: int) -> float:
        waiting = self.world.store.waiting(message)
        assert waiting is not None
        return waiting.rows[0].expires_at

    def test_a_lost_answer_makes_no_second_notice(self) -> None:
        self.sent("bob@remote.example", None)
        self.world.advance(3.9 * HOUR, step=8.0)
        self.world.database.lose_answer()
        self.world.advance(10 * HOUR, step=8.0)
        self.assertFalse(self.world.database.losing)
        self.assertEqual(self.actions(), ["delayed"])

    def test_it_may_be_switched_off(self) -> None:
        silent = structs.replace(self.world.settings, queue=Queue(delay_notice=Seconds(0)))
        self.world = World(self.world.path, configured=silent)
        self.furnish(self.world)
        self.sent("bob@remote.example", ALL)
        self.world.advance(DAY, step=8.0)
        self.assertEqual(self.reports(), [])

    def test_what_arrives_in_time_is_not_late(self) -> None:
        self.sent("bob@remote.example", None)
        self.world.advance(2 * HOUR, step=8.0)
        self.serve()
        self.world.advance(DAY, step=8.0)
        self.assertEqual(self.reports(), [])


class AliasTest(NotifyCase):
    """A sender's wishes behind an alias (RFC 3461 §5.2.7)."""

    def addressed(self, to: str, notify: str) -> int:
        """Accept a message for an address as reception does once RCPT asked for that."""
        queue, routing = map(self.world.server.getServiceNamed, ("queue", "routing"))
        assert IAcceptance.providedBy(queue)
        assert isinstance(routing, RoutingService)
        route = replace(
            self.successResultOf(Deferred.fromCoroutine(routing.route(from_plain(to)))),
            notify=notify,
            orcpt=f"rfc822;{to}",
        )
        now = self.world.wall.now()
        stamp = Stamp(queue.next_id(), queue.next_id, len(CONTENT), now, now + 5 * DAY, None)
        messages = address_messages(Peer("192.0.2.7", 4000), ALICE, (route,), stamp)
        accepted: Deferred[None] = queue.accept(Acceptance(stamp.content_id, CONTENT, messages))
        self.world.turn()
        self.assertIsNone(self.successResultOf(accepted))
        self.world.advance(5)
        return stamp.content_id

    def told(self) -> list[tuple[str, str]]:
        fields = [self.fields(report) for report in self.reports()]
        self.assertEqual([each["Original-Recipient"] for each in fields], [each["Final-Recipient"] for each in fields])
        return sorted((each["Action"], each["Final-Recipient"]) for each in fields)

    def test_one_that_leads_to_one_is_delivered(self) -> None:
        self.world.alias("sales@acme.example", "bob@acme.example")
        self.addressed("sales@acme.example", ALL)
        self.assertEqual(self.told(), [("delivered", "rfc822; sales@acme.example")])

    def test_one_that_leads_to_several_is_expanded_once(self) -> None:
        self.world.alias("team@acme.example", "bob@acme.example", "cid@acme.example", "ann@store.example")
        self.serve(LMTP, **{".": [b"452 4.2.2 full\r\n", b"250 2.0.0 OK\r\n"]})
        message = self.addressed("team@acme.example", ALL)
        self.assertEqual(self.told(), [("expanded", "rfc822; team@acme.example")])
        named = [
            event.facts["expansion_report"] for event in self.world.story(message) if "expansion_report" in event.facts
        ]
        self.assertEqual(len(named), 1)
        self.world.advance(HOUR, step=8.0)
        self.assertIsNone(self.world.store.waiting(message))
        for mailbox in ("bob", "cid"):
            self.assertEqual(len(self.world.mail(f"{mailbox}@acme.example")), 1)
        self.assertEqual(len(self.told()), 1)

    def test_the_first_of_several_may_have_to_be_tried_again(self) -> None:
        self.world.alias("team@acme.example", "ann@store.example", "bob@acme.example")
        server = self.serve(LMTP, **{".": b"452 4.2.2 full\r\n"})
        self.addressed("team@acme.example", "SUCCESS,FAILURE")
        self.world.advance(HOUR, step=8.0)
        self.assertGreater(len(server.messages), 2)
        self.assertEqual(self.told(), [("expanded", "rfc822; team@acme.example")])

    def test_what_fails_behind_it_is_told_when_that_was_asked_for(self) -> None:
        self.world.alias("team@acme.example", "bob@acme.example", "ann@store.example")
        self.serve(LMTP, **{".": b"550 5.2.0 never\r\n"})
        team = "rfc822; team@acme.example"
        self.addressed("team@acme.example", "SUCCESS")
        self.assertEqual(self.told(), [("expanded", team)])
        self.addressed("team@acme.example", "SUCCESS,FAILURE")
        self.assertEqual(self.told(), [("expanded", team), ("expanded", team), ("failed", team)])


class ReportsTest(NotifyCase):
    def test_nobody_is_told_of_a_null_reverse_path(self) -> None:
        for to in ("bob@acme.example", "ghost@acme.example", "bob@remote.example"):
            self.sent(to, ALL, sender=None)
        self.world.advance(6 * HOUR, step=8.0)
        self.assertEqual(self.world.journal.of("report.queued"), [])

    def test_the_senders_names_come_back(self) -> None:
        self.sent(
            "bob@acme.example", "SUCCESS", orcpt="rfc822;bobby@old.example", parameters=Parameters(envid="id+2B1")
        )
        self.world.advance(5)
        (report,) = self.reports()
        (message, recipient) = list(report.iter_parts())[1].get_payload()
        self.assertEqual(message["Original-Envelope-Id"], "id+1")
        self.assertEqual(recipient["Original-Recipient"], "rfc822; bobby@old.example")
        self.assertEqual(recipient["Final-Recipient"], "rfc822; bob@acme.example")
        self.assertEqual(recipient["Status"], "2.0.0")

    def test_a_mail_store_of_ours_is_not_named(self) -> None:
        self.serve(LMTP, **{".": b"550 5.2.0 never\r\n"})
        self.serve(SMTP, RCPT=b"550 5.1.1 no\r\n")
        self.world.host("eve@gate.example", delivery=SmtpDelivery(SMTP))
        self.serve(RCPT=b"550 5.1.1 no\r\n")
        for to, host in (
            ("ann@store.example", None),
            ("eve@gate.example", None),
            ("x@remote.example", "dns; mx.remote.example"),
        ):
            self.sent(to, None)
            self.world.advance(5)
            report = self.reports()[-1]
            self.assertEqual(self.fields(report)["Remote-MTA"], host)
            self.assertTrue(self.fields(report)["Diagnostic-Code"].startswith("smtp; 550 5."))
            for address in (LMTP, SMTP):
                self.assertNotIn(address, str(report))

    def test_nor_where_it_is_a_gateway(self) -> None:
        self.serve(SMTP)
        self.world.host("eve@gate.example", delivery=SmtpDelivery(SMTP))
        self.sent("eve@gate.example", "SUCCESS")
        self.world.advance(5)
        (report,) = self.reports()
        self.assertEqual((self.fields(report)["Action"], self.fields(report)["Remote-MTA"]), ("relayed", None))
        self.assertNotIn(SMTP, str(report))

    def test_the_whole_message_comes_back_when_it_failed_and_that_was_asked_for(self) -> None:
        self.serve(RCPT=b"550 5.1.1 no\r\n")
        full = Parameters(ret="FULL")
        self.sent("bob@remote.example", None, parameters=full)
        self.sent("bob@acme.example", "SUCCESS", parameters=full)
        self.world.advance(5)
        returned = {self.fields(report)["Action"]: list(report.iter_parts())[2] for report in self.reports()}
        self.assertEqual(returned["failed"].get_content_type(), "message/rfc822")
        self.assertIn("secret", returned["failed"].get_content().get_content())
        self.assertEqual(returned["delivered"].get_content_type(), "text/rfc822-headers")

    def test_a_report_asks_for_nothing(self) -> None:
        server = self.serve(EHLO=DSN)
        self.sent("bob@acme.example", ALL, sender=from_plain("eve@remote.example"), parameters=Parameters(ret="FULL"))
        self.world.advance(5)
        (mail, recipient) = [line for line in server.lines if line.startswith((b"MAIL", b"RCPT"))]
        self.assertEqual(mail.split()[:2], [b"MAIL", b"FROM:<>"])
        for word in (b"NOTIFY", b"RET=", b"ENVID"):
            self.assertNotIn(word, mail + recipient)
        self.world.advance(5)
        self.assertEqual(len(self.world.journal.of("report.queued")), 1)

    def test_the_stories_say_who_is_told_and_who_is_not(self) -> None:
        server = self.serve(RCPT=b"550 5.1.1 no\r\n")
        silent = self.world.story(self.sent("bob@remote.example", "NEVER"))[-1]
        self.assertEqual((silent.kind, silent.facts["unreported"]), ("failed", "its sender asked for no report"))
        self.assertNotIn("report", silent.facts)
        told = self.world.story(self.sent("bob@acme.example", "SUCCESS"))[-1]
        self.assertEqual(told.kind, "delivered")
        about = self.world.story(parse_id(str(told.facts["report"])))[0]
        self.assertEqual((about.kind, about.facts["action"]), ("reporting", "delivered"))
        self.world.advance(15)
        server.script.update({b"EHLO": DSN, b"RCPT": b"250 2.1.5 OK\r\n"})
        handed_on = self.world.story(self.sent("bob@remote.example", "SUCCESS"))[-1]
        self.assertEqual(
            (handed_on.kind, handed_on.facts["unreported"]), ("delivered", "that server took over to report")
        )

    def test_a_success_is_told_once_though_the_answer_is_lost(self) -> None:
        def taken(session: object, line: bytes) -> bytes:
            self.world.database.lose_answer(outage=True)
            return b"250 2.0.0 OK\r\n"

        server = ScriptedServer(b"220 ready\r\n", {b".": taken})
        self.world.network.serve(LMTP, server)
        self.sent("ann@store.example", "SUCCESS")
        self.assertFalse(self.world.database.reachable)
        self.world.crash()
        self.world = self.world.another()
        self.world.advance(5 * MINUTE)
        self.assertEqual(self.actions(), ["delivered"])
