"""Mail that comes in, on the whole server: what is taken, what is refused, and in which order it is said."""

from pathlib import Path

from msgspec import structs
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import EmailAddress
from mtad.model.identity import parse_id
from mtad.testing.world import DAY, World, settings

ENVELOPE = b"MAIL FROM:<ann@outside.example>\r\nRCPT TO:<alice@acme.example>\r\nDATA\r\n"


class ReceivingTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(Path(self.mktemp()))
        self.world.host("alice@acme.example", "bob@acme.example")

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])

    def codes(self, answer: bytes) -> list[bytes]:
        """The code and enhanced code of each last line of a reply."""
        return [b" ".join(line.split(b" ")[:2]) for line in answer.splitlines() if line[3:4] == b" "]

    def test_a_message_lands_in_its_mailbox(self) -> None:
        answer = self.world.send("alice@acme.example", content=b"Subject: hi\r\n\r\nhello\r\n..dot\r\n")
        self.assertRegex(answer, rb"\A250 2\.0\.0 OK queued as [0-9A-Z]{13}\r\n\Z")
        (mail,) = self.world.mail("alice@acme.example")
        head, _, body = mail.partition(b"\n\n")
        self.assertEqual(body, b"hello\n.dot\n")
        self.assertTrue(
            head.startswith(b"Return-Path: <ann@outside.example>\nDelivered-To: alice@acme.example\nReceived: ")
        )
        self.assertIn(b"for <alice@acme.example>", head)
        self.assertIn(answer.split()[-1], head)

    def test_what_was_found_sound_is_the_body_as_it_came_and_nothing_of_the_header(self) -> None:
        claim = b"Authentication-Results: mx.test; spf=pass\r\n"
        for content, body in (
            (b"Subject: hi\r\n\r\nhello\r\n", b"hello\r\n"),
            (claim + b"Subject: hi\r\n\r\nhello\r\n", b"hello\r\n"),
            (b"\r\nhello\r\n", b"hello\r\n"),
            (b"Subject: hi\r\n", b""),
        ):
            answer = self.world.send("alice@acme.example", content=content)
            octets = self.world.store.sound_octets[parse_id(answer.split()[-1].decode())]
            self.assertEqual(octets, len(body), content)

    def test_one_recipient_said_twice_is_one_delivery(self) -> None:
        self.world.alias("sales@acme.example", "alice@acme.example", "bob@acme.example")
        answer = self.world.send("alice@acme.example", "ALICE@ACME.example", "sales@acme.example", "alice@acme.example")
        self.assertTrue(answer.startswith(b"250 2.0.0"), answer)
        self.assertEqual([len(self.world.mail(f"{name}@acme.example")) for name in ("alice", "bob")], [1, 1])

    def test_the_keywords(self) -> None:
        answer = self.world.say(self.world.connect(), b"EHLO outside.example\r\n")
        keywords = {line[4:] for line in answer.splitlines()[1:]}
        self.assertEqual(
            keywords,
            {
                b"PIPELINING", b"SIZE 26214400", b"8BITMIME", b"SMTPUTF8", b"CHUNKING", b"DSN", b"ENHANCEDSTATUSCODES",
                b"HELP", b"LIMITS RCPTMAX=1000",
            },
        )  # fmt: skip
        self.assertEqual(
            self.world.say(self.world.connect(), b"HELO outside.example\r\n").count(b"\r\n"), 1, "HELO has no keywords"
        )

    def test_starttls_is_offered_with_a_certificate_and_forgets_what_was_said(self) -> None:
        self.world.tls.configured = True
        line = self.world.connect()
        self.assertIn(b"250 STARTTLS", self.world.say(line, b"EHLO outside.example\r\n").replace(b"-", b" "))
        self.assertEqual(
            self.codes(self.world.say(line, b"STARTTLS\r\nMAIL FROM:<smuggled@x.example>\r\n")), [b"220 2.0.0"]
        )
        line.start_tls()
        self.assertEqual(self.codes(self.world.say(line, ENVELOPE))[0], b"503 5.5.1")
        self.assertNotIn(b"STARTTLS", self.world.say(line, b"EHLO outside.example\r\n"))

    def test_who_is_taken_and_who_is_not(self) -> None:
        self.world.host("eve@late.example", organisation="late", verified=False)
        line = self.world.connect()
        self.world.say(line, b"EHLO o.example\r\nMAIL FROM:<>\r\n")
        for recipient, expected in (
            (b"alice@acme.example", b"250 2.1.5"),
            (b"ALICE@ACME.example", b"250 2.1.5"),
            (b"nobody@acme.example", b"550 5.1.1"),
            (b"eve@elsewhere.example", b"554 5.7.1"),
            (b"eve@late.example", b"450 4.7.1"),
            (b"postmaster", b"554 5.7.1"),
        ):
            self.assertEqual(self.codes(self.world.say(line, b"RCPT TO:<%s>\r\n" % recipient)), [expected], recipient)
        self.world.directory.reachable = False
        self.assertEqual(self.codes(self.world.say(line, b"RCPT TO:<bob@acme.example>\r\n")), [b"451 4.3.0"])
        self.world.directory.reachable = True
        self.assertEqual(self.codes(self.world.say(line, b"RCPT TO:<bob@acme.example>\r\n")), [b"250 2.1.5"])

    def test_there_is_a_postmaster_in_every_domain_served(self) -> None:
        plain = settings(self.world.path)
        server = structs.replace(plain.server, postmaster=EmailAddress("alice@acme.example"))
        self.world = World(self.world.path, configured=structs.replace(plain, server=server))
        self.world.host("alice@acme.example")
        self.world.host("postmaster@own.example", "eve@other.example", organisation="other")
        self.world.host("eve@late.example", organisation="late", verified=False)
        line = self.world.connect()
        self.world.say(line, b"EHLO o.example\r\nMAIL FROM:<>\r\n")
        for recipient, expected in (
            (b"postmaster@late.example", b"450 4.7.1"),
            (b"postmaster@elsewhere.example", b"554 5.7.1"),
            (b"nobody@other.example", b"550 5.1.1"),
        ):
            self.assertEqual(self.codes(self.world.say(line, b"RCPT TO:<%s>\r\n" % recipient)), [expected], recipient)
        at_home = ("Postmaster", "postmaster@mx.test", "postmaster@acme.example", "POSTMASTER@other.example")
        for recipient in (*at_home, "postmaster@own.example"):
            self.assertEqual(self.world.send(recipient)[:3], b"250", recipient)
        self.assertEqual(len(self.world.mail("alice@acme.example")), len(at_home))
        self.assertEqual(len(self.world.mail("postmaster@own.example")), 1)

    def test_a_postmaster_who_is_nobody_changes_nothing(self) -> None:
        plain = settings(self.world.path)
        server = structs.replace(plain.server, postmaster=EmailAddress("nobody@acme.example"))
        self.world = World(self.world.path, configured=structs.replace(plain, server=server))
        self.world.host("alice@acme.example")
        line = self.world.connect()
        self.world.say(line, b"EHLO o.example\r\nMAIL FROM:<>\r\n")
        for recipient, expected in ((b"postmaster", b"554 5.7.1"), (b"postmaster@acme.example", b"550 5.1.1")):
            self.assertEqual(self.codes(self.world.say(line, b"RCPT TO:<%s>\r\n" % recipient)), [expected])

    def test_a_claim_nobody_verified_runs_out(self) -> None:
        self.world.host("eve@late.example", organisation="late", verified=False)
        self.world.advance(7.1 * DAY, step=3 * 3600.0)
        line = self.world.connect()
        answer = self.world.say(line, b"EHLO o.example\r\nMAIL FROM:<>\r\nRCPT TO:<eve@late.example>\r\n")
        self.assertEqual(self.codes(answer)[-1], b"554 5.7.1")

    def test_catch_all(self) -> None:
        self.world.host("x@shop.example", catch_all="alice@acme.example")
        self.assertTrue(self.world.send("anything@shop.example").startswith(b"250"))
        self.assertEqual(len(self.world.mail("alice@acme.example")), 1)

    def test_pipelined_commands_wait_for_a_slow_directory_and_are_answered_in_order(self) -> None:
        self.world.directory.delay_seconds = 5
        line = self.world.connect()
        self.world.say(line, b"EHLO o.example\r\n")
        line.send(
            b"MAIL FROM:<ann@outside.example>\r\nRCPT TO:<nobody@acme.example>\r\n"
            b"RCPT TO:<alice@acme.example>\r\nDATA\r\n"
        )
        self.world.advance(9.9)
        self.assertEqual(line.received, b"")
        while not line.received:
            self.world.advance(1.0)
        self.assertEqual(self.codes(line.take()), [b"250 2.1.0", b"550 5.1.1", b"250 2.1.5", b"354 End"])
        self.assertEqual(
            self.codes(self.world.say(line, b"S: x\r\n\r\nx\r\n.\r\nQUIT\r\n")), [b"250 2.0.0", b"221 2.0.0"]
        )

    def test_our_slowness_is_not_the_peers(self) -> None:
        self.world.directory.delay_seconds = 600
        line = self.world.connect()
        self.world.say(line, b"EHLO o.example\r\nMAIL FROM:<>\r\nRCPT TO:<alice@acme.example>\r\n")
        self.world.advance(601)
        self.assertEqual(self.codes(line.take()), [b"250 2.1.5"])
        self.world.advance(298)
        self.assertFalse(line.closed)
        self.world.advance(2)
        self.assertEqual(self.codes(line.take()), [b"421 4.4.2"])
        self.assertTrue(line.closed)

    def test_too_large_at_mail_and_at_the_end_of_data(self) -> None:
        line = self.world.connect()
        answer = self.world.say(line, b"EHLO o.example\r\nMAIL FROM:<> SIZE=26214401\r\n")
        self.assertEqual(self.codes(answer)[-1], b"552 5.3.4")
        self.world.say(line, ENVELOPE)
        line.send(b"x" * 998 + b"\r\n")
        for _ in range(26):
            line.send((b"x" * 998 + b"\r\n") * 1050)
            self.world.turn()
        self.assertEqual(self.codes(self.world.say(line, b".\r\n")), [b"552 5.3.4"])
        self.assertEqual(self.codes(self.world.say(line, ENVELOPE)), [b"250 2.1.0", b"250 2.1.5", b"354 End"])

    def test_a_bare_newline_never_ends_and_never_passes(self) -> None:
        for bare in (b"a\nb", b"a\rb", b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r"):
            line = self.world.connect()
            self.world.say(line, b"EHLO o.example\r\n" + ENVELOPE)
            self.assertEqual(self.world.say(line, b"S: x\r\n\r\n" + bare), b"", bare)
            self.assertEqual(self.codes(self.world.say(line, b"\r\n.\r\n")), [b"550 5.5.2"], bare)
        self.assertEqual(self.world.mail("alice@acme.example"), [])

    def test_loops_are_cut(self) -> None:
        received = b"Received: from a by b; Sun, 22 Nov 2026 12:00:00 +0000\r\n"
        self.assertTrue(self.world.send("alice@acme.example", content=received * 49 + b"\r\nx\r\n").startswith(b"250"))
        self.assertTrue(
            self.world.send("alice@acme.example", content=received * 50 + b"\r\nx\r\n").startswith(b"554 5.4.6")
        )

    def test_two_organisations_in_one_message_know_nothing_of_each_other(self) -> None:
        self.world.host("eve@other.example", organisation="other")
        self.assertTrue(self.world.send("alice@acme.example", "eve@other.example").startswith(b"250"))
        for address, other in (("alice@acme.example", b"other.example"), ("eve@other.example", b"acme.example")):
            (mail,) = self.world.mail(address)
            self.assertNotIn(other, mail)

    def test_sessions_are_counted_and_refusals_named(self) -> None:
        self.world.send("nobody@acme.example")
        refusals = {(facts["stage"], facts["reason"]) for facts in self.world.journal.of("smtp.rejected")}
        self.assertIn(("rcpt", "no-such-user"), refusals)
        self.assertEqual(len(self.world.journal.of("smtp.connected")), 1)

    def test_too_many_errors_end_the_session(self) -> None:
        line = self.world.connect()
        answer = self.world.say(line, b"NONSENSE\r\n" * 30)
        self.assertEqual(self.codes(answer)[-1], b"421 4.7.0")
        self.assertEqual(len(self.codes(answer)), 21)
        self.assertTrue(line.closed)

    def test_what_the_protocol_refuses_is_counted_too(self) -> None:
        self.world.say(self.world.connect(), b"EHLO o.example\r\nMAIL FROM:<> SIZE=99999999\r\nNONSENSE\r\n")
        reasons = [facts["reason"] for facts in self.world.journal.of("smtp.rejected")]
        self.assertEqual(reasons, ["too-large", "syntax"])

    def test_a_peer_that_does_not_read_is_not_answered_on(self) -> None:
        line = self.world.connect()
        line.transport.pauseProducing()
        for _ in range(40):
            line.send(b"NOOP\r\n" * 20_000)
            self.world.turn()
        self.assertGreater(line.transport.waiting_octets, 4_000_000, "it is not read on either")
        line.transport.resumeProducing()
        self.world.advance(60, step=0.01)
        self.assertEqual(line.take().count(b"250 2.0.0"), 800_000)

    def test_a_message_must_come_at_some_pace(self) -> None:
        line = self.world.connect()
        self.world.say(line, b"EHLO o.example\r\n" + ENVELOPE)
        for _ in range(30):
            line.send(b"x")
            self.world.advance(30)
        self.assertEqual(self.codes(line.take()), [b"421 4.4.2"])
        self.assertTrue(line.closed)

    def test_a_message_far_beyond_the_limit_is_not_read_to_its_end(self) -> None:
        line = self.world.connect()
        self.world.say(line, b"EHLO o.example\r\n" + ENVELOPE)
        for _ in range(60):
            line.send((b"x" * 998 + b"\r\n") * 1050)
            self.world.turn()
        self.assertEqual(self.codes(line.take()), [b"421 4.3.4"])
        self.assertTrue(line.closed)

    def test_nothing_is_left_of_a_session_that_ended(self) -> None:
        before = len(self.world.clock.getDelayedCalls())
        for ending in (b"QUIT\r\n", b"NONSENSE\r\n" * 30):
            line = self.world.connect()
            self.world.say(line, b"EHLO o.example\r\n" + ending)
            line.hang_up()
            self.world.turn()
        self.assertEqual(len(self.world.clock.getDelayedCalls()), before)

    def test_twenty_thousand_commands_leave_the_reactor_its_turn(self) -> None:
        line = self.world.connect()
        line.send(b"NOOP\r\n" * 20_000)
        other = self.world.connect()
        self.assertTrue(self.world.say(other, b"EHLO o.example\r\n").startswith(b"250"))
        for _ in range(20):
            self.world.turn()
        self.assertEqual(line.take().count(b"250 2.0.0"), 20_000)
