"""Reports of failed delivery on the whole server: who is told, of what, and once."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from msgspec import structs
from twisted.trial.unittest import SynchronousTestCase

from mtad.config.kinds import EmailAddress, Seconds
from mtad.config.sections import Queue
from mtad.model.event import Event
from mtad.model.identity import parse_id
from mtad.model.job import Status
from mtad.model.tenant import LmtpDelivery
from mtad.testing.scripted import ScriptedServer
from mtad.testing.world import DAY, HOUR, MINUTE, World

LMTP = "127.0.0.1:2424"
ALICE = "alice@acme.example"
LETTER = b"From: alice@acme.example\r\nSubject: the plan\r\nMessage-ID: <plan@acme.example>\r\n\r\nsecret\r\n"


class ReportsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.world.host(ALICE, "bob@acme.example")
        self.world.host("ann@store.example", "ben@store.example", "cid@store.example", delivery=LmtpDelivery(LMTP))
        self.store = ScriptedServer(b"220 store ready\r\n")

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])

    def serve(self, *answers: bytes) -> None:
        """Let the mail store answer so at the end of data, once for each recipient."""
        left = iter(answers)
        self.store.script[b"."] = lambda session, line: next(left)
        self.world.network.serve(LMTP, self.store)

    def sent(self, *recipients: str, sender: str = ALICE) -> int:
        answer = self.world.send(*recipients, sender=sender, content=LETTER)
        self.assertTrue(answer.startswith(b"250 2.0.0"), answer)
        return parse_id(answer.split()[-1].decode())

    def told(self, address: str = ALICE, world: World | None = None) -> EmailMessage:
        """Return the one report in a mailbox."""
        (octets,) = (world or self.world).mail(address)
        report: EmailMessage = message_from_bytes(octets, policy=policy.default)
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report["Return-Path"], "<>")
        return report

    def groups(self, report: EmailMessage) -> list[EmailMessage]:
        return list(report.iter_parts())[1].get_payload()

    def last(self, message: int) -> Event:
        return self.world.story(message)[-1]

    def test_what_expires_after_five_days_is_told_to_its_sender(self) -> None:
        patient = structs.replace(self.world.settings, queue=Queue(max_retries=1000, delay_notice=Seconds(0)))
        self.world = World(self.world.path, configured=patient, directory=self.world.directory)
        message = self.sent("ann@store.example")
        self.world.advance(4.5 * DAY, step=8.0)
        self.assertEqual(self.world.mail(ALICE), [])
        self.world.advance(0.6 * DAY, step=8.0)
        report = self.told()
        self.assertEqual(report["To"], ALICE)
        self.assertEqual(report["In-Reply-To"], "<plan@acme.example>")
        notice, _, original = report.iter_parts()
        words = re.sub(r"\s+", " ", notice.get_content())
        self.assertRegex(words, r"it was tried \d\d times in 5 days, and is given up\.")
        self.assertIn("Subject: the plan", words)
        self.assertIn("cannot connect", words)
        self.assertIn("Subject: the plan", original.get_content())
        self.assertNotIn(b"secret", self.world.mail(ALICE)[0])
        _, recipient = self.groups(report)
        self.assertEqual(recipient["Final-Recipient"], "rfc822; ann@store.example")
        self.assertEqual((recipient["Action"], recipient["Status"]), ("failed", "4.4.7"))
        self.assertIsNone(self.world.store.waiting(message))
        self.assertEqual(self.world.store.contents, {})

    def test_one_of_three_is_refused_and_only_it_is_told_of(self) -> None:
        self.serve(b"250 2.0.0 stored\r\n", b"550 5.2.0 never\r\n", b"452 4.2.2 full\r\n")
        message = self.sent("ann@store.example", "ben@store.example", "cid@store.example")
        waiting = self.world.store.waiting(message)
        assert waiting is not None
        self.assertEqual([row.recipient.n for row in waiting.rows], [2])
        self.world.advance(5)
        groups = self.groups(self.told())
        self.assertEqual([group["Final-Recipient"] for group in groups[1:]], ["rfc822; ben@store.example"])
        self.assertEqual(groups[1]["Status"], "5.2.0")
        self.assertIn("550 5.2.0 never", groups[1]["Diagnostic-Code"])

    def test_one_report_for_all_that_fail_together(self) -> None:
        self.serve(b"550 5.1.1 no\r\n", b"550 5.1.1 no\r\n")
        self.sent("ann@store.example", "ben@store.example")
        self.world.advance(5)
        self.assertEqual(len(self.groups(self.told())), 3)

    def test_the_stories_lead_from_one_to_the_other(self) -> None:
        self.serve(b"550 5.1.1 no\r\n")
        message = self.sent("ann@store.example")
        self.world.advance(5)
        failed = self.last(message)
        self.assertEqual((failed.kind, failed.facts["status"]), ("failed", "5.1.1"))
        report = parse_id(str(failed.facts["report"]))
        story = self.world.story(report)
        self.assertEqual([event.kind for event in story], ["reporting", "routed", "signed", "delivered"])
        self.assertEqual(parse_id(str(story[0].facts["about"])), message)

    def test_a_sender_elsewhere_is_told_over_there(self) -> None:
        self.serve(b"550 5.1.1 no\r\n")
        message = self.sent("ann@store.example", sender="eve@outside.example")
        waiting = self.world.store.waiting(parse_id(str(self.last(message).facts["report"])))
        assert waiting is not None
        (row,) = waiting.rows
        self.assertEqual((row.recipient.destination, row.status, row.owner), ("mx:outside.example", Status.QUEUED, 0))
        self.assertIsNone(waiting.reverse_path)

    def test_aliases_and_catch_alls_hold_for_reports_too(self) -> None:
        self.world.host("team@shop.example", catch_all=ALICE)
        self.serve(b"550 5.1.1 no\r\n")
        self.sent("ann@store.example", sender="anything@shop.example")
        self.world.advance(5)
        self.assertEqual(self.told()["To"], "anything@shop.example")

    def test_the_servers_own_postmaster_is_told_here(self) -> None:
        cared = structs.replace(self.world.settings.server, postmaster=EmailAddress(ALICE))
        configured = structs.replace(self.world.settings, server=cared)
        self.world = World(self.world.path, configured=configured, directory=self.world.directory)
        self.serve(b"550 5.1.1 no\r\n")
        self.sent("ann@store.example", sender="postmaster@mx.test")
        self.world.advance(5)
        self.assertEqual(self.told()["To"], "postmaster@mx.test")

    def test_a_report_that_fails_is_not_reported(self) -> None:
        self.serve(b"550 5.1.1 no\r\n", b"550 5.1.1 no\r\n", b"550 5.2.0 never\r\n")
        for number, sender in enumerate(("ghost@acme.example", "cid@store.example"), start=1):
            message = self.sent("ann@store.example", sender=sender)
            self.world.advance(HOUR)
            report = parse_id(str(self.last(message).facts["report"]))
            self.assertEqual(self.last(report).kind, "failed")
            self.assertNotIn("report", self.last(report).facts)
            self.assertIsNone(self.world.store.waiting(report))
            self.assertEqual(len(self.world.journal.of("report.queued")), number)
        self.assertEqual(self.world.store.messages, {})

    def test_there_is_nobody_to_tell_of_a_null_reverse_path(self) -> None:
        self.serve(b"550 5.1.1 no\r\n")
        message = self.sent("ann@store.example", sender="")
        self.world.advance(5)
        self.assertEqual(self.last(message).kind, "failed")
        self.assertEqual(self.world.store.messages, {})
        self.assertEqual(self.world.journal.of("report.queued"), [])
        self.assertEqual(len(self.world.journal.of("delivery.given_up")), 1)

    def test_a_lost_answer_and_a_crash_make_one_report(self) -> None:
        def refuse(session: object, line: bytes) -> bytes:
            self.world.database.lose_answer(outage=True)
            return b"550 5.1.1 no\r\n"

        self.store.script[b"."] = refuse
        self.world.network.serve(LMTP, self.store)
        self.sent("ann@store.example")
        self.assertFalse(self.world.database.reachable)
        self.world.crash()
        after = self.world.another()
        after.advance(5 * MINUTE)
        self.told(world=after)
        self.assertEqual(after.store.messages, {})

    def test_a_crash_before_the_settlement_makes_one_report(self) -> None:
        def refuse(session: object, line: bytes) -> bytes:
            self.world.database.outage()
            return b"550 5.1.1 no\r\n"

        self.store.script[b"."] = refuse
        self.world.network.serve(LMTP, self.store)
        self.sent("ann@store.example")
        self.world.advance(2)
        self.world.crash()
        after = self.world.another()
        self.store.script[b"."] = b"550 5.1.1 no\r\n"
        after.network.serve(LMTP, self.store)
        after.advance(5 * MINUTE)
        self.told(world=after)
        self.assertEqual(after.store.messages, {})

    def test_a_directory_that_is_away_delays_the_report(self) -> None:
        def refuse(session: object, line: bytes) -> bytes:
            self.world.directory.reachable = False
            return b"550 5.1.1 no\r\n"

        self.store.script[b"."] = refuse
        self.world.network.serve(LMTP, self.store)
        message = self.sent("ann@store.example")
        self.world.advance(MINUTE)
        self.assertIsNotNone(self.world.store.waiting(message), "nothing is settled that cannot be told")
        self.world.directory.reachable = True
        self.world.advance(MINUTE)
        self.told()
