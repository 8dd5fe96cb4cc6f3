"""Mail that is handed in, on the whole server: who may, as whom, where it leads, and what becomes of it on the way."""

from base64 import b64encode
from pathlib import Path

import msgspec
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import Name, Network, RelayNetwork, Tls
from mtad.model.identity import parse_id, print_id
from mtad.testing.network import Line
from mtad.testing.world import HOUR, MINUTE, World, settings

MESSAGE = b"From: alice@acme.example\r\nSubject: hi\r\n\r\nhello\r\n"
LOOPBACK = ("127.0.0.1", 40000)
OFFICE = ("198.51.100.7", 40000)


class SubmissionTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.build()

    def build(self, tls: Tls | None = None, relay_networks: tuple[RelayNetwork, ...] = ()) -> None:
        path = Path(self.mktemp())
        made = settings(path)
        server = msgspec.structs.replace(made.server, relay_networks=relay_networks)
        self.world = World(path, configured=msgspec.structs.replace(made, server=server, tls=tls or Tls()))
        self.world.tls.configured = True
        self.world.host("alice@acme.example", "bob@acme.example", "c@shop.example")
        self.world.host("eve@other.example", organisation="other")
        self.world.credential("alice@acme.example", "wonderland", send_as=("*@shop.example", "other.example"))
        self.world.credential("bob@acme.example", "builder", enabled=False)

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])
        self.assertEqual(self.world.journal.of("session.surprise"), [])

    # Talking.

    def codes(self, answer: bytes) -> list[bytes]:
        """The code and enhanced code of each last line of a reply."""
        return [b" ".join(line.split(b" ")[:2]) for line in answer.splitlines() if line[3:4] == b" "]

    def say(self, line: Line, octets: bytes) -> list[bytes]:
        return self.codes(self.world.say(line, octets))

    def secured(self) -> Line:
        """Return a session under TLS, greeted."""
        line = self.world.connect("submission")
        self.world.say(line, b"EHLO pc.example\r\nSTARTTLS\r\n")
        line.start_tls()
        self.assertIn(
            b"250 AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n", self.world.say(line, b"EHLO pc.example\r\n")
        )
        return line

    def proof(self, user: str = "alice@acme.example", password: str = "wonderland", acting: str = "") -> bytes:
        return b"AUTH PLAIN " + b64encode(f"{acting}\0{user}\0{password}".encode()) + b"\r\n"

    def logged_in(self) -> Line:
        line = self.secured()
        self.assertEqual(self.say(line, self.proof()), [b"235 2.7.0"])
        return line

    def send(self, line: Line, *recipients: str, sender: str = "alice@acme.example", content: bytes = MESSAGE) -> int:
        """Send a message; return its id."""
        commands = [b"MAIL FROM:<%s>" % sender.encode(), *(b"RCPT TO:<%s>" % to.encode() for to in recipients), b"DATA"]
        self.assertEqual(self.say(line, b"\r\n".join([*commands, b""]))[-1][:4], b"354 ")
        answer = self.world.say(line, content + b".\r\n")
        self.assertEqual(self.codes(answer), [b"250 2.0.0"])
        return parse_id(answer.split()[-1].decode())

    # Who may.

    def test_a_crowd_of_wrong_passwords_keeps_nobody_from_the_next_turn(self) -> None:
        def login(host: str, number: int, password: str) -> Line:
            line = self.world.connect("submission", (host, number))
            self.world.say(line, b"EHLO pc.example\r\nSTARTTLS\r\n")
            line.start_tls()
            self.world.say(line, b"EHLO pc.example\r\n")
            self.say(line, self.proof(password=password))
            return line

        self.world.offload.hold()
        crowd = [login("198.51.100.9", number, f"wrong {number}") for number in range(50)]
        told = [facts["result"] for facts in self.world.journal.of("smtp.login")]
        self.assertEqual(told, ["deferred"] * 45)
        user = login("198.51.100.10", 40000, "wonderland")
        for line in crowd[:4]:
            line.hang_up()
        for _ in range(4):
            self.world.offload.release_next()
            self.world.turn()
        accepted = [facts["peer"] for facts in self.world.journal.of("smtp.login") if facts["result"] == "accepted"]
        self.assertEqual(accepted, ["198.51.100.10"])
        self.assertIn(b"250", self.world.say(user, b"NOOP\r\n"))

    def test_a_login_whose_connection_is_gone_waits_no_more(self) -> None:
        self.world.offload.hold()
        lines = [self.secured() for _ in range(5)]
        for line in lines:
            self.say(line, self.proof())
        for line in lines[2:]:
            line.hang_up()
        self.world.turn()
        self.assertEqual([facts["reason"] for facts in self.world.journal.of("smtp.login")], ["the peer is gone"] * 3)
        self.world.offload.release()
        self.assertEqual(self.world.offload.ran, 2)

    def test_a_message_is_completed_and_lands(self) -> None:
        line = self.logged_in()
        content = b"Bcc: secret@x.example,\r\n other@x.example\r\nReturn-Path: <x>\r\n" + MESSAGE
        message = self.send(line, "bob@acme.example", "alice@acme.example", content=content)
        (mail,) = self.world.mail("alice@acme.example")
        self.assertNotIn(b"secret", mail)
        self.assertEqual(mail.count(b"Return-Path"), 1)
        self.assertRegex(mail, rb"\nDate: \w{3}, ")
        self.assertRegex(mail, rb"\nMessage-ID: <[0-9A-Z]{13}@acme\.example>\n")
        self.assertIn(b"with ESMTPSA (TLSv1.3) id ", mail)
        received, *_ = self.world.story(message)
        self.assertEqual(received.facts["submitter"], "alice@acme.example")

    def test_nobody_sends_without_a_login(self) -> None:
        self.assertEqual(self.say(self.secured(), b"MAIL FROM:<alice@acme.example>\r\n"), [b"530 5.7.0"])
        line = self.world.connect("submission")
        answers = self.say(line, b"EHLO pc.example\r\nMAIL FROM:<>\r\n" + self.proof())
        self.assertEqual(answers[1:], [b"530 5.7.0", b"530 5.7.0"])

    def test_the_receiving_port_knows_no_login(self) -> None:
        line = self.world.connect()
        self.assertNotIn(b"AUTH", self.world.say(line, b"EHLO pc.example\r\n"))
        self.assertEqual(self.say(line, self.proof()), [b"502 5.5.1"])

    def test_both_mechanisms(self) -> None:
        for octets in (
            self.proof(),
            b"AUTH PLAIN\r\n" + self.proof()[11:],
            b"AUTH LOGIN\r\n" + b64encode(b"ALICE@acme.example") + b"\r\n" + b64encode(b"wonderland") + b"\r\n",
            self.proof(acting="Alice@ACME.example"),
        ):
            line = self.secured()
            self.assertEqual(self.say(line, octets)[-1], b"235 2.7.0")
            self.assertEqual(self.say(line, b"MAIL FROM:<alice@acme.example>\r\n"), [b"250 2.1.0"])

    def test_wrong_claims_are_all_answered_the_same(self) -> None:
        for octets, reason in (
            (self.proof(password="Wonderland"), "wrong password"),
            (self.proof("nobody@acme.example"), "nobody logs in with this address"),
            (self.proof("c@shop.example"), "nobody logs in with this address"),
            (self.proof("no address"), "nobody logs in with this address"),
            (self.proof("bob@acme.example", "builder"), "the mailbox is switched off"),
            (self.proof(acting="bob@acme.example"), "asks to act for somebody else"),
        ):
            line = self.secured()
            ran = self.world.offload.ran
            self.assertEqual(self.say(line, octets), [b"535 5.7.8"], reason)
            if reason != "asks to act for somebody else":
                self.assertEqual(self.world.offload.ran, ran + 1, reason)
            self.assertEqual(self.world.journal.of("smtp.login")[-1]["reason"], reason)
            self.assertEqual(self.say(line, b"MAIL FROM:<>\r\n"), [b"530 5.7.0"])

    def test_three_failures_and_the_line_is_closed(self) -> None:
        line = self.secured()
        self.assertEqual(self.say(line, self.proof(password="x") * 3), [b"535 5.7.8"] * 3)
        self.assertEqual(self.say(line, self.proof()), [b"421 4.7.0"])
        self.assertTrue(line.closed)

    def test_a_login_can_be_called_off(self) -> None:
        line = self.secured()
        self.assertEqual(self.say(line, b"AUTH LOGIN\r\n*\r\n"), [b"334 VXNlcm5hbWU6", b"501 5.7.0"])
        self.assertEqual(self.say(line, self.proof()), [b"235 2.7.0"])

    def test_all_at_once_is_answered_in_order(self) -> None:
        self.world.directory.delay_seconds = 2.0
        line = self.secured()
        said = self.proof() + b"MAIL FROM:<alice@acme.example>\r\nRCPT TO:<bob@elsewhere.example>\r\nDATA\r\n"
        self.assertEqual(self.say(line, said), [])
        self.world.advance(10)
        self.assertEqual(self.codes(line.take()), [b"235 2.7.0", b"250 2.1.0", b"250 2.1.5", b"354 End"])

    def test_without_tls_only_this_machine_and_only_where_tls_is_off(self) -> None:
        said = b"EHLO pc.example\r\n" + self.proof()
        self.assertEqual(self.say(self.world.connect("submission", LOOPBACK), said)[-1], b"530 5.7.0")
        self.build(tls=Tls(enabled=False))
        self.world.tls.configured = False
        self.assertEqual(self.say(self.world.connect("submission"), said)[-1], b"530 5.7.0")
        line = self.world.connect("submission", LOOPBACK)
        self.assertEqual(self.say(line, said)[-1], b"235 2.7.0")
        self.send(line, "alice@acme.example")
        self.assertIn(b"with ESMTPA id ", self.world.mail("alice@acme.example")[0])

    def test_tls_that_begins_after_a_login_makes_it_forgotten(self) -> None:
        self.build(tls=Tls(enabled=False))
        line = self.world.connect("submission", LOOPBACK)
        said = b"EHLO pc.example\r\n" + self.proof() + b"STARTTLS\r\n"
        self.assertEqual(self.say(line, said)[1:], [b"235 2.7.0", b"220 2.0.0"])
        line.start_tls()
        self.assertEqual(self.say(line, b"EHLO pc.example\r\nMAIL FROM:<>\r\n")[-1], b"530 5.7.0")

    # What is remembered, and how many at once.

    def test_a_success_is_remembered_for_ten_minutes(self) -> None:
        self.logged_in()
        ran = self.world.offload.ran
        self.logged_in()
        self.assertEqual(self.world.offload.ran, ran)
        self.assertEqual(self.say(self.secured(), self.proof(password="x")), [b"535 5.7.8"])
        self.assertEqual(self.world.offload.ran, ran + 1)
        self.world.advance(10 * MINUTE)
        self.logged_in()
        self.assertEqual(self.world.offload.ran, ran + 2)

    def test_a_changed_password_is_the_only_one(self) -> None:
        self.logged_in()
        self.world.credential("alice@acme.example", "mirror")
        self.assertEqual(self.say(self.secured(), self.proof()), [b"535 5.7.8"])
        self.assertEqual(self.say(self.secured(), self.proof(password="mirror")), [b"235 2.7.0"])
        self.world.credential("alice@acme.example", "mirror", enabled=False)
        self.assertEqual(self.say(self.secured(), self.proof(password="mirror")), [b"535 5.7.8"])

    def test_two_are_verified_at_once_and_others_wait(self) -> None:
        self.world.offload.hold()
        lines = [self.secured() for _ in range(4)]
        for number, line in enumerate(lines):
            line.send(self.proof(password=f"wrong {number}"))
        self.world.turn()
        self.assertEqual(self.world.offload.waiting, 2)
        self.world.offload.release_next()
        self.world.turn()
        self.assertEqual(self.world.offload.waiting, 2)
        self.world.advance(5.1)
        self.assertEqual([self.codes(line.take()) for line in lines], [[b"535 5.7.8"], [], [], [b"454 4.7.0"]])
        self.world.offload.release()
        self.world.turn()
        self.assertEqual([self.codes(line.take()) for line in lines[1:3]], [[b"535 5.7.8"]] * 2)
        self.assertEqual(self.say(lines[3], self.proof()), [b"235 2.7.0"])

    def test_who_waits_for_the_same_answer_is_not_verified_again(self) -> None:
        self.world.offload.hold()
        ran = self.world.offload.ran
        lines = [self.secured() for _ in range(4)]
        for line in lines:
            line.send(self.proof())
        self.world.turn()
        self.world.offload.release()
        self.world.turn()
        self.assertEqual([self.codes(line.take()) for line in lines], [[b"235 2.7.0"]] * 4)
        self.assertEqual(self.world.offload.ran, ran + 2)

    def test_a_directory_that_is_down_refuses_nobody(self) -> None:
        line = self.secured()
        self.world.directory.reachable = False
        self.assertEqual(self.say(line, self.proof() * 4), [b"454 4.7.0"] * 4)
        self.world.directory.reachable = True
        self.assertEqual(self.say(line, self.proof()), [b"235 2.7.0"])
        self.world.directory.reachable = False
        self.assertEqual(self.say(line, b"MAIL FROM:<alice@acme.example>\r\n"), [b"451 4.3.0"])

    def test_a_transaction_that_could_not_begin_holds_no_memory(self) -> None:
        line = self.secured()
        self.say(line, self.proof())
        self.world.directory.reachable = False
        self.assertEqual(self.say(line, b"MAIL FROM:<alice@acme.example> SIZE=1000000\r\n"), [b"451 4.3.0"])
        self.world.advance(1)
        self.assertEqual(self.world.journal.of("memory.used")[-1]["incoming"], 0)

    # As whom.

    def test_as_whom_one_may_send(self) -> None:
        self.world.alias("sales@acme.example", "alice@acme.example", "bob@acme.example")
        self.world.alias("all@acme.example", "sales@acme.example")
        line = self.logged_in()
        for sender, expected in (
            (b"", b"250 2.1.0"),
            (b"alice@acme.example", b"250 2.1.0"),
            (b"ALICE@ACME.example", b"250 2.1.0"),
            (b"sales@acme.example", b"250 2.1.0"),
            (b"anybody@shop.example", b"250 2.1.0"),
            (b"all@acme.example", b"553 5.7.1"),
            (b"bob@acme.example", b"553 5.7.1"),
            (b"eve@other.example", b"553 5.7.1"),
            (b"x@elsewhere.example", b"553 5.7.1"),
        ):
            self.assertEqual(self.say(line, b"MAIL FROM:<%s>\r\n" % sender), [expected], sender)
            self.world.say(line, b"RSET\r\n")
        self.assertEqual(self.world.journal.of("smtp.rejected")[-1]["reason"], "sender-not-permitted")

    def test_what_an_operator_changes_holds_at_the_next_message(self) -> None:
        line = self.logged_in()
        self.world.credential("alice@acme.example", "wonderland")
        self.assertEqual(self.say(line, b"MAIL FROM:<x@shop.example>\r\n"), [b"553 5.7.1"])
        self.world.credential("alice@acme.example", "wonderland", enabled=False)
        self.assertEqual(self.say(line, b"MAIL FROM:<>\r\n"), [b"553 5.7.1"])

    def test_relay_networks_submit_as_their_organisation(self) -> None:
        networks = (
            RelayNetwork(Network("198.51.100.0/24"), Name("acme")),
            RelayNetwork(Network("203.0.113.9"), Name("gone")),
        )
        self.build(relay_networks=networks)
        line = self.world.connect("submission", OFFICE)
        self.world.say(line, b"EHLO printer.example\r\n")
        for sender, expected in (
            (b"eve@other.example", b"553 5.7.1"),
            (b"x@y.example", b"553 5.7.1"),
            (b"", b"250 2.1.0"),
        ):
            self.assertEqual(self.say(line, b"MAIL FROM:<%s>\r\n" % sender), [expected], sender)
        self.world.say(line, b"RSET\r\n")
        message = self.send(line, "alice@acme.example", "far@elsewhere.example", sender="printer@acme.example")
        self.assertIn(b"with ESMTP id ", self.world.mail("alice@acme.example")[0])
        self.assertEqual(self.world.story(message)[0].facts["submitter"], "a relay network")
        for peer in (("203.0.113.9", 1), ("192.0.2.7", 1)):
            line = self.world.connect("submission", peer)
            self.assertEqual(
                self.say(line, b"EHLO p.example\r\nMAIL FROM:<printer@acme.example>\r\n")[-1], b"530 5.7.0"
            )

    # Where to.

    def test_where_it_leads(self) -> None:
        self.world.host("late@late.example", organisation="late", verified=False)
        line = self.logged_in()
        self.say(line, b"MAIL FROM:<alice@acme.example>\r\n")
        for recipient, expected in (
            (b"c@shop.example", b"250 2.1.5"),
            (b"far@elsewhere.example", b"250 2.1.5"),
            (b"far@[192.0.2.1]", b"250 2.1.5"),
            (b"late@late.example", b"250 2.1.5"),
            (b"eve@other.example", b"250 2.1.5"),
            (b"nobody@acme.example", b"550 5.1.1"),
            (b"nobody@other.example", b"550 5.1.1"),
            (b"bob@acme.example", b"550 5.2.1"),
        ):
            self.assertEqual(self.say(line, b"RCPT TO:<%s>\r\n" % recipient), [expected], recipient)

    def test_mail_for_elsewhere_is_the_submitters_own(self) -> None:
        message = self.send(self.logged_in(), "Far@elsewhere.example", "late@[192.0.2.1]")
        routed = [event.facts for event in self.world.story(message) if event.kind == "routed"]
        self.assertEqual([facts["rule"] for facts in routed], ["remote", "remote"])
        self.assertEqual([facts["to"] for facts in routed], [["Far@elsewhere.example"], ["late@[192.0.2.1]"]])
        (accepted,) = self.world.journal.of("smtp.accepted")
        self.assertEqual((parse_id(str(accepted["id"])), accepted["recipients"]), (message, 2))

    def test_another_organisation_gets_foreign_mail_with_a_story_of_its_own(self) -> None:
        message = self.send(self.logged_in(), "eve@other.example", "c@shop.example")
        (mail,) = self.world.mail("eve@other.example")
        self.assertIn(b"Return-Path: <alice@acme.example>", mail)
        self.assertEqual(len(self.world.mail("c@shop.example")), 1)
        ours = self.world.story(message)
        ids = {parse_id(str(facts["id"])) for facts in self.world.journal.of("smtp.accepted")}
        (theirs,) = [self.world.story(other) for other in ids - {message}]
        self.assertEqual((ours[0].facts["submitter"], ours[0].facts["peer"]), ("alice@acme.example", "192.0.2.7"))
        told = repr([event.facts for event in theirs])
        self.assertIn("eve@other.example", told)
        for secret in ("192.0.2.7", "shop.example", "submitter"):
            self.assertNotIn(secret, told)
        handed = [event.facts for event in ours if event.facts.get("forward_path") == "eve@other.example"]
        self.assertEqual(handed, [{"forward_path": "eve@other.example", "rule": "another organisation here"}])
        self.assertEqual([event.facts["recipient"] for event in ours if event.kind == "delivered"], ["c@shop.example"])

    def test_who_writes_to_another_organisation_alone_has_a_story_to_find(self) -> None:
        self.world.alias("sales@other.example", "eve@other.example", organisation="other")
        told = self.send(self.logged_in(), "sales@other.example")
        self.assertEqual(len(self.world.mail("eve@other.example")), 1)
        ours, theirs = (
            self.successResultOf(Deferred.fromCoroutine(self.world.directory.organisation(name)))
            for name in ("acme", "other")
        )
        stories = {each.organisation: self.world.story(each.message) for each in self.world.store.happenings}
        self.assertEqual(set(stories), {ours, theirs})
        own = stories[ours]
        self.assertEqual([event.kind for event in own], ["received", "signed", "routed"])
        self.assertEqual((own[0].facts["submitter"], own[0].facts["told_id"]), ("alice@acme.example", print_id(told)))
        self.assertNotIn("eve@", repr(own))
        self.assertEqual([event.kind for event in stories[theirs]][-1], "delivered")
        for key in (print_id(told), "sales@other.example", "alice@acme.example", "192.0.2.7"):
            searching = self.world.database.timeline.search(key, 10, ours)
            self.assertEqual(len(self.successResultOf(Deferred.fromCoroutine(searching))), 1, key)
        (accepted,) = self.world.journal.of("smtp.accepted")
        self.assertEqual(accepted["organisation"], theirs)
        self.world.advance(2 * HOUR, step=60.0)
        self.assertEqual((self.world.store.messages, self.world.store.contents), ({}, {}))
        self.assertEqual(self.world.journal.of("queue.swept"), [])

    def test_what_is_signed_is_told(self) -> None:
        message = self.send(self.logged_in(), "c@shop.example")
        (signed,) = [event.facts for event in self.world.story(message) if event.kind == "signed"]
        self.assertEqual((signed["domain"], signed["because"]), ("acme.example", "author"))
        self.world.host("alice@acme.example", "bob@acme.example", "c@shop.example", check_from=False)
        self.world.credential("alice@acme.example", "wonderland", send_as=("*@shop.example",))
        line = self.logged_in()
        message = self.send(line, "c@shop.example", sender="x@shop.example", content=b"From: bob@acme.example\r\n\r\n")
        (signed,) = [event.facts for event in self.world.story(message) if event.kind == "signed"]
        self.assertEqual((signed["domain"], signed["because"]), ("shop.example", "envelope"))

    def test_both_ports_end_in_order(self) -> None:
        lines = [self.world.connect(), self.world.connect("submission")]
        self.world.server.stopService()
        self.world.turn()
        self.assertEqual([self.codes(line.take()) for line in lines], [[b"421 4.3.2"]] * 2)
        self.assertRaises(
            error.ConnectionRefusedError, self.world.network.connect, self.world.settings.server.submission_addr
        )
