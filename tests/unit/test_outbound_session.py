"""mtad.outbound.session, .pool and .client: deliveries over memory connections, and everything that can end them."""

from collections.abc import Mapping
from dataclasses import replace

from twisted.internet.defer import CancelledError
from twisted.internet.defer import Deferred as Pending
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.next_hop import Credentials, Dialect, NextHop, TlsLevel
from mtad.model.outcome import CLEAR, Deferred, Delivered, Failed, Outcome, Remote, Scope
from mtad.outbound.client import CLEAR_SECONDS, MailClient
from mtad.outbound.errand import Mail
from mtad.outbound.session import BLOCK_OCTETS
from mtad.smtp.timeouts import (
    BLOCK_SECONDS,
    DATA_SECONDS,
    END_SECONDS,
    GREETING_SECONDS,
    MAIL_SECONDS,
    RCPT_SECONDS,
    transaction_seconds,
)
from mtad.testing.journal import MemoryJournal
from mtad.testing.network import Line, MemoryNetwork
from mtad.testing.scripted import HANG_UP, SILENCE, Answer, ScriptedServer, ScriptedSession
from mtad.testing.tls import MemoryTls
from tests.unit.recipients import to

ADDR = "127.0.0.1:24"
STORE = NextHop(host=ADDR, address=ADDR, dialect=Dialect.LMTP)
SMTP = NextHop(host="mx.remote.example", address=ADDR, tls=TlsLevel.MAY)
HERE = Remote(ADDR, ADDR, CLEAR, store=True)
ANN = Address("ann", "outside.example")
ALICE = Address("alice", "acme.example")
BOB = Address("bob", "acme.example")
SMALL = b"Subject: hi\r\n\r\n.dot\r\n"
LARGE = b"Subject: large\r\n\r\n" + b".all lines begin with a dot\r\n" * 20_000
GREETING = b"220 ready\r\n"


class LmtpCase(SynchronousTestCase):
    """A client, a clock, and a network to put servers into."""

    max_connections = 20

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.allowed = True
        self.tls = MemoryTls()
        self.journal = MemoryJournal()
        self.client = MailClient(
            network=self.network,
            tls=self.tls,
            clock=self.clock,
            journal=self.journal,
            hostname="mx.acme.example",
            max_connections=self.max_connections,
        )

    def serve(self, script: Mapping[bytes, Answer] | None = None, greeting: Answer = GREETING) -> ScriptedServer:
        server = ScriptedServer(greeting, script)
        self.network.serve(ADDR, server)
        return server

    def turn(self, seconds: float = 0.0) -> None:
        """Let the time pass, and all that follows at once from it."""
        self.clock.advance(seconds)
        for _ in range(200):
            self.clock.advance(0)

    def begin(self, *recipients: Address, content: bytes = SMALL) -> "Pending[list[Outcome]]":
        delivery = Pending.fromCoroutine(
            self.client.deliver(
                STORE, Mail(ANN, content, may_send=lambda: self.allowed), to(*recipients or (ALICE, BOB))
            )
        )
        self.turn()
        return delivery

    def deliver(self, *recipients: Address, content: bytes = SMALL) -> list[Outcome]:
        return self.successResultOf(self.begin(*recipients, content=content))

    def deferred(self, outcomes: list[Outcome], scope: Scope, *, count: int = 2) -> str:
        """Check that all recipients were deferred alike; return the detail."""
        self.assertEqual(len(outcomes), count)
        for outcome in outcomes:
            assert isinstance(outcome, Deferred), outcome
            self.assertEqual(outcome.scope, scope)
        return outcomes[0].detail


class DeliverTest(LmtpCase):
    def test_a_message_for_two(self) -> None:
        server = self.serve({b".": [b"250 2.1.5 alice has it\r\n", b"250 2.1.5 bob has it\r\n"]})
        self.assertEqual(
            self.deliver(),
            [
                Delivered("250 2.1.5 alice has it", "2.1.5", HERE),
                Delivered("250 2.1.5 bob has it", "2.1.5", HERE),
            ],
        )
        self.assertEqual(
            server.lines,
            [
                b"LHLO mx.acme.example",
                b"MAIL FROM:<ann@outside.example>",
                b"RCPT TO:<alice@acme.example>",
                b"RCPT TO:<bob@acme.example>",
                b"DATA",
            ],
        )
        self.assertEqual(server.messages, [b"Subject: hi\r\n\r\n..dot\r\n"])

    def test_with_pipelining(self) -> None:
        server = self.serve({b"LHLO": b"250-hi\r\n250-PIPELINING\r\n250-SIZE\r\n250 8BITMIME\r\n"})
        self.deliver(content="Subject: ü\r\n\r\n".encode())
        self.assertEqual(server.lines[1], b"MAIL FROM:<ann@outside.example> SIZE=15 BODY=8BITMIME")
        self.assertEqual(server.messages, ["Subject: ü\r\n\r\n".encode()])

    def test_each_recipient_has_an_answer_of_its_own(self) -> None:
        self.serve({
            b"RCPT": [b"250 ok\r\n", b"550 5.1.1 unknown\r\n", b"250 ok\r\n", b"450 4.2.0 busy\r\n"],
            b".": [b"250 ok\r\n", b"552 5.2.2 over quota\r\n"],
        })  # fmt: skip
        outcomes = self.deliver(ALICE, Address("x", "acme.example"), BOB, Address("y", "acme.example"))
        self.assertEqual(
            outcomes,
            [
                Delivered("250 ok", remote=HERE),
                Failed(
                    "550 5.1.1 unknown (in reply to RCPT)", Scope.RECIPIENT, "5.1.1", HERE, told="550 5.1.1 unknown"
                ),
                Failed(
                    "552 5.2.2 over quota (in reply to the end of data)",
                    Scope.RECIPIENT,
                    "5.2.2",
                    HERE,
                    told="552 5.2.2 over quota",
                ),
                Deferred("450 4.2.0 busy (in reply to RCPT)", Scope.RECIPIENT, "4.2.0", HERE, told="450 4.2.0 busy"),
            ],
        )

    def test_what_the_server_says_is_escaped_and_short(self) -> None:
        self.serve({b"MAIL": b"550 \x1b[2J\x00\xff" + b"x" * 5000 + b"\r\n"})
        (outcome,) = self.deliver(ALICE)
        self.assertTrue(outcome.detail.startswith(r"550 \x1b[2J\x00\xffxxx"))
        self.assertLess(len(outcome.detail), 500)

    def test_many_recipients_go_in_several_transactions(self) -> None:
        server = self.serve()
        outcomes = self.deliver(*(Address(f"u{n}", "acme.example") for n in range(250)))
        self.assertEqual([type(outcome) for outcome in outcomes], [Delivered] * 250)
        self.assertEqual([session.lines.count(b"DATA") for session in server.sessions], [3])

    def test_after_the_servers_own_trouble_it_is_asked_for_no_more(self) -> None:
        recipients = [Address(f"user{n}", "acme.example") for n in range(250)]
        server = self.serve({b"MAIL": [b"250 ok\r\n", b"451 4.3.2 enough\r\n", b"250 ok\r\n"]})
        outcomes = self.deliver(*recipients)
        self.assertEqual([type(outcome) for outcome in outcomes], [Delivered] * 100 + [Deferred] * 150)
        self.assertEqual({outcome.status for outcome in outcomes[100:]}, {"4.3.2"})
        self.assertEqual(sum(line.startswith(b"MAIL") for line in server.lines), 2)

    def test_a_recipient_that_cannot_be_said_fails_alone(self) -> None:
        server = self.serve()
        outcomes = self.deliver(ALICE, Address("x\r\nRSET", "acme.example"), BOB)
        self.assertEqual([type(outcome) for outcome in outcomes], [Delivered, Failed, Delivered])
        self.assertEqual(sum(b"RCPT" in line for line in server.lines), 2)

    def test_a_message_that_could_smuggle_another_is_never_sent(self) -> None:
        for content in (b"a\n.\nMAIL FROM:<x@y>\r\n", b"a\r\n.\rb\r\n", b"a\r.\r\n"):
            (outcome,) = self.deliver(ALICE, content=content)
            self.assertIsInstance(outcome, Failed)
        self.assertEqual(self.network.dialled, [])

    def test_a_unix_socket(self) -> None:
        server = ScriptedServer(GREETING)
        self.network.serve("/run/lmtp", server)
        store = NextHop(host="/run/lmtp", address="/run/lmtp", dialect=Dialect.LMTP)
        delivery = Pending.fromCoroutine(self.client.deliver(store, Mail(None, SMALL), to(ALICE)))
        self.turn()
        here = Remote("/run/lmtp", "/run/lmtp", CLEAR, store=True)
        self.assertEqual(self.successResultOf(delivery), [Delivered("250 2.0.0 OK", remote=here)])
        self.assertIn(b"MAIL FROM:<>", server.lines)


class LargeTest(LmtpCase):
    """Above 64 KiB the dot is a write of its own, and the lease is asked just before it."""

    def test_arrives_whole(self) -> None:
        server = self.serve()
        self.assertIsInstance(self.deliver(ALICE, content=LARGE)[0], Delivered)
        self.assertEqual(server.messages, [LARGE.replace(b"\r\n.", b"\r\n..")])

    def test_the_limit_is_64_kib(self) -> None:
        server = self.serve()
        for size in (BLOCK_OCTETS - 1, BLOCK_OCTETS, BLOCK_OCTETS + 1):
            content = b"x" * (size - 2) + b"\r\n"
            self.assertIsInstance(self.deliver(ALICE, content=content)[0], Delivered)
            self.assertEqual(server.messages[-1], content)

    def test_a_lease_lost_while_the_content_flows_sends_no_dot(self) -> None:
        line = self.raw()
        delivery = self.begin(ALICE, content=LARGE)
        self.converse(line, b"220 hi", b"250 hi", b"250 ok", b"250 ok")
        line[0].transport.pauseProducing()
        self.converse(line, b"354 go")
        self.allowed = False
        self.assertNoResult(delivery)
        line[0].transport.resumeProducing()
        self.turn()
        self.assertIn("lease", self.deferred(self.successResultOf(delivery), Scope.OURS, count=1))
        self.assertNotIn(b"\r\n.\r\n", line[0].received)
        self.assertTrue(line[0].closed)

    def test_a_lease_lost_before_a_small_message_sends_nothing_of_it(self) -> None:
        line = self.raw()
        delivery = self.begin(ALICE)
        self.converse(line, b"220 hi", b"250 hi", b"250 ok", b"250 ok")
        self.allowed = False
        self.converse(line, b"354 go")
        self.deferred(self.successResultOf(delivery), Scope.OURS, count=1)
        self.assertNotIn(b"Subject", line[0].received)

    def test_without_a_lease_nothing_is_begun(self) -> None:
        self.allowed = False
        server = self.serve()
        self.deferred(self.deliver(), Scope.OURS)
        self.assertNotIn(b"MAIL", b"".join(server.lines))

    def test_abort_drops_what_is_not_sent_whole_and_nothing_else(self) -> None:
        line = self.raw()
        unfinished = self.begin(ALICE)
        self.converse(line, b"220 hi", b"250 hi", b"250 ok")
        sent = self.begin(BOB)
        self.converse(line, b"220 hi", b"250 hi", b"250 ok", b"250 ok", b"354 go")
        self.client.abort()
        self.turn()
        self.deferred(self.successResultOf(unfinished), Scope.OURS, count=1)
        self.converse(line, b"250 ok")
        self.assertIsInstance(self.successResultOf(sent)[0], Delivered)

    def test_a_server_that_takes_no_more_content(self) -> None:
        line = self.raw()
        delivery = self.begin(ALICE, content=LARGE)
        self.converse(line, b"220 hi", b"250 hi", b"250 ok", b"250 ok")
        line[0].transport.pauseProducing()
        self.converse(line, b"354 go")
        self.turn(BLOCK_SECONDS - 1)
        self.assertNoResult(delivery)
        self.turn(1)
        self.assertIn("takes no more", self.deferred(self.successResultOf(delivery), Scope.HOST, count=1))

    def test_a_server_that_takes_it_slowly_is_waited_for(self) -> None:
        line = self.raw()
        delivery = self.begin(ALICE, content=LARGE * 4)
        self.converse(line, b"220 hi", b"250 hi", b"250 ok", b"250 ok")
        line[0].transport.pauseProducing()
        self.converse(line, b"354 go")
        while not line[0].received.endswith(b"\r\n.\r\n"):
            self.clock.advance(BLOCK_SECONDS - 1)
            line[0].transport.resumeProducing()
            self.clock.advance(0)
            line[0].transport.pauseProducing()
            self.assertNoResult(delivery)
        self.converse(line, b"250 ok")
        line[0].transport.resumeProducing()
        self.turn()
        self.assertIsInstance(self.successResultOf(delivery)[0], Delivered)

    def test_a_refusal_while_the_content_flows(self) -> None:
        line = self.raw()
        delivery = self.begin(content=LARGE)
        self.converse(line, b"220 hi", b"250 hi", b"250 ok", b"250 ok", b"250 ok")
        line[0].transport.pauseProducing()
        self.converse(line, b"354 go", b"552 5.3.4 too large")
        refused = Failed(
            "552 5.3.4 too large (in reply to the end of data)",
            Scope.MESSAGE,
            "5.3.4",
            HERE,
            told="552 5.3.4 too large",
        )
        self.assertEqual(self.successResultOf(delivery), [refused] * 2)
        line[0].transport.resumeProducing()
        self.turn()
        self.assertTrue(line[0].closed)
        self.assertNotIn(b"\r\n.\r\n", line[0].received)

    def raw(self) -> list[Line]:
        """Let a server listen that the test plays by hand; its latest connection comes first."""
        lines: list[Line] = []

        class Accepting(Factory):
            noisy = False

            def buildProtocol(self, addr: object) -> Line:
                lines.insert(0, Line())
                return lines[0]

        self.network.listen(ADDR, Accepting())
        return lines

    def converse(self, lines: list[Line], *replies: bytes) -> None:
        for reply in replies:
            lines[0].send(reply + b"\r\n")
            self.turn()


class TroubleTest(LmtpCase):
    """What the server does not decide is temporary, and its own trouble."""

    def test_nobody_listens(self) -> None:
        self.assertIn("cannot connect", self.deferred(self.deliver(), Scope.HOST))

    def test_nobody_answers_the_connection(self) -> None:
        self.network.silent.add(ADDR)
        delivery = self.begin()
        self.turn(30)
        self.assertIn("cannot connect", self.deferred(self.successResultOf(delivery), Scope.HOST))

    def test_silence_in_every_phase(self) -> None:
        for verb, seconds in (
            (b"", GREETING_SECONDS),
            (b"LHLO", GREETING_SECONDS),
            (b"MAIL", MAIL_SECONDS),
            (b"RCPT", MAIL_SECONDS),
            (b"DATA", DATA_SECONDS),
            (b".", END_SECONDS),
        ):
            self.setUp()
            self.serve({b"": GREETING, b"RCPT": b"250 ok\r\n", verb: SILENCE}, SILENCE if verb == b"" else GREETING)
            delivery = self.begin()
            self.turn(seconds - 1)
            self.assertNoResult(delivery)
            self.turn(1)
            scope = Scope.MESSAGE if verb == b"." else Scope.HOST
            detail = self.deferred(self.successResultOf(delivery), scope)
            self.assertIn(f"within {seconds:g} s", detail)
            self.assertEqual("may arrive twice" in detail, verb == b".", detail)

    def test_hanging_up_in_every_phase(self) -> None:
        for verb in (b"", b"LHLO", b"MAIL", b"RCPT", b"DATA", b"."):
            self.setUp()
            self.serve({verb: HANG_UP}, HANG_UP if verb == b"" else GREETING)
            detail = self.deferred(self.deliver(), Scope.MESSAGE if verb == b"." else Scope.HOST)
            self.assertIn("connection lost before the reply to", detail)
            self.assertEqual("may arrive twice" in detail, verb == b".", detail)

    def test_goodbye_in_every_phase(self) -> None:
        goodbye = b"421 4.3.2 closing\r\n"
        for verb in (b"", b"LHLO", b"MAIL", b"RCPT", b"DATA", b"."):
            self.setUp()
            server = self.serve({verb: goodbye}, goodbye if verb == b"" else GREETING)
            self.assertIn("421 4.3.2 closing", self.deferred(self.deliver(), Scope.HOST))
            self.assertTrue(server.sessions[0].closed)

    def test_junk_in_every_phase(self) -> None:
        for junk in (b"junk\r\n", b"999 x\r\n", b"250-x\r\n" * 600, b"250 " + b"x" * 70_000, b"\xff\xfe\x00" * 30_000):
            for verb in (b"", b"LHLO", b"MAIL", b"RCPT", b"DATA", b"."):
                self.setUp()
                server = self.serve({verb: junk}, junk if verb == b"" else GREETING)
                scope = Scope.MESSAGE if verb == b"." else Scope.HOST
                self.assertIn("not understood", self.deferred(self.deliver(), scope))
                self.assertTrue(server.sessions[0].closed)

    def test_an_answer_that_came_before_the_loss_counts(self) -> None:
        self.serve({b".": [b"250 alice has it\r\n", HANG_UP]})
        first, second = self.deliver()
        self.assertIsInstance(first, Delivered)
        assert isinstance(second, Deferred)
        self.assertIn("may arrive twice", second.detail)

    def test_a_session_that_is_refused_is_never_a_bounce(self) -> None:
        self.serve(greeting=b"554 5.7.1 go away\r\n")
        self.assertIn("554 5.7.1 go away", self.deferred(self.deliver(), Scope.HOST))

    def test_more_replies_than_were_asked_for_after_the_message(self) -> None:
        self.serve({b".": b"250 ok\r\n250 ok\r\n250 ok\r\n"})
        self.assertEqual([type(outcome) for outcome in self.deliver()], [Delivered] * 2)
        self.assertEqual([type(outcome) for outcome in self.deliver()], [Delivered] * 2)

    def test_a_greeting_and_a_goodbye_in_one_breath(self) -> None:
        self.serve(greeting=b"220 hi\r\n250 hi\r\n421 bye\r\n")
        self.deferred(self.deliver(), Scope.HOST)


class LimitTest(LmtpCase):
    """A server that is always just in time."""

    def test_the_opening_as_a_whole_is_bounded(self) -> None:
        offers = b"250-hi\r\n250 STARTTLS\r\n"
        server = self.serve({b"EHLO": SILENCE, b"HELO": SILENCE}, SILENCE)
        delivery = Pending.fromCoroutine(self.client.deliver(SMTP, Mail(ANN, SMALL), to(ALICE)))
        self.turn()
        for word in (b"220 hi\r\n", b"502 what\r\n", offers):
            self.turn(GREETING_SECONDS - 1)
            if not server.sessions[0].closed:
                server.sessions[0].transport.write(word)
            self.turn()
        self.assertIn("took longer", self.deferred(self.successResultOf(delivery), Scope.HOST, count=1))
        self.assertEqual(server.lines, [b"EHLO mx.acme.example", b"HELO mx.acme.example"])

    def test_a_transaction_as_a_whole_is_bounded(self) -> None:
        server = self.serve({b"RCPT": SILENCE})
        recipients = [Address(f"u{n}", "acme.example") for n in range(100)]
        delivery = self.begin(*recipients)
        began_at = self.clock.seconds()
        while not delivery.called:
            self.turn(RCPT_SECONDS - 1)
            if not server.sessions[0].closed:
                server.sessions[0].transport.write(b"250 ok\r\n")
                self.turn()
        self.assertLessEqual(self.clock.seconds() - began_at, transaction_seconds(len(SMALL)) + RCPT_SECONDS)
        self.assertIn("took longer", self.deferred(self.successResultOf(delivery), Scope.HOST, count=100))


class ClearTest(LmtpCase):
    """Where TLS may be done without."""

    def begin_badly(self) -> ScriptedServer:
        """Serve TLS that cannot be begun."""

        def broken(session: ScriptedSession, _: bytes) -> Answer:
            session.transport.write(b"220 go\r\n")
            session.transport.loseConnection()
            return SILENCE

        offer = b"250-hi\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"
        return self.serve({b"EHLO": offer, b"STARTTLS": broken})

    def send(self, hop: NextHop) -> Outcome:
        delivery = Pending.fromCoroutine(self.client.deliver(hop, Mail(ANN, SMALL), to(ALICE)))
        self.turn()
        (outcome,) = self.successResultOf(delivery)
        return outcome

    def test_the_server_is_spoken_to_in_clear(self) -> None:
        server = self.begin_badly()
        remote = Remote("mx.remote.example", ADDR, CLEAR)
        self.assertEqual(self.send(SMTP), Delivered("250 2.0.0 OK", remote=remote))
        self.assertEqual(len(server.sessions), 2)
        (facts,) = self.journal.of("delivery.tls_failed")
        self.assertIn("while TLS was to begin", facts["reason"])

    def test_one_that_only_hangs_up_on_the_word_is_too(self) -> None:
        self.serve({b"EHLO": b"250-hi\r\n250 STARTTLS\r\n", b"STARTTLS": HANG_UP})
        self.assertIsInstance(self.send(SMTP), Delivered)

    def test_it_is_remembered_for_an_hour(self) -> None:
        server = self.begin_badly()
        for seconds, asked in ((0, 1), (CLEAR_SECONDS - 60, 1), (60, 2)):
            self.turn(seconds)
            self.send(SMTP)
            self.turn(20)
            self.assertEqual(server.lines.count(b"STARTTLS"), asked)

    def test_where_it_is_needed_nothing_is_sent(self) -> None:
        for level in (TlsLevel.ENCRYPT, TlsLevel.VERIFY):
            self.setUp()
            server = self.begin_badly()
            outcome = self.send(replace(SMTP, tls=level))
            assert isinstance(outcome, Deferred), outcome
            self.assertEqual(len(server.sessions), 1)

    def test_a_password_is_not_sent_in_clear_after_others_have_been(self) -> None:
        server = self.begin_badly()
        self.send(SMTP)
        outcome = self.send(replace(SMTP, credentials=Credentials("ann", "sesame")))
        assert isinstance(outcome, Deferred), outcome
        self.assertFalse([line for line in server.lines if line.startswith(b"AUTH")])


class KeptTest(LmtpCase):
    """Connections are used again, within bounds."""

    max_connections = 2

    def test_a_connection_serves_the_next_message(self) -> None:
        server = self.serve()
        for _ in range(3):
            self.deliver()
        self.assertEqual((len(server.sessions), len(server.messages)), (1, 3))

    def test_a_hundred_messages_are_enough(self) -> None:
        server = self.serve()
        for _ in range(101):
            self.deliver(ALICE)
        self.assertEqual([len(session.messages) for session in server.sessions], [100, 1])
        self.assertEqual(server.sessions[0].lines[-1], b"QUIT")
        self.assertTrue(server.sessions[0].closed)

    def test_ten_idle_seconds_are_enough(self) -> None:
        server = self.serve()
        self.deliver()
        self.turn(9)
        self.assertFalse(server.sessions[0].closed)
        self.turn(1)
        self.assertEqual(server.sessions[0].lines[-1], b"QUIT")
        self.assertTrue(server.sessions[0].closed)
        self.deliver()
        self.assertEqual(len(server.sessions), 2)

    def test_one_that_the_server_closed_meanwhile_is_forgotten(self) -> None:
        server = self.serve()
        self.deliver()
        assert server.sessions[0].transport is not None
        server.sessions[0].transport.loseConnection()
        self.turn()
        self.assertIsInstance(self.deliver()[0], Delivered)
        self.assertEqual(len(server.sessions), 2)

    def test_one_that_the_server_takes_leave_of_while_idle(self) -> None:
        server = self.serve()
        self.deliver()
        assert server.sessions[0].transport is not None
        server.sessions[0].transport.write(b"421 idle too long\r\n")
        self.turn()
        self.assertIsInstance(self.deliver()[0], Delivered)
        self.assertEqual(len(server.sessions), 2)

    def test_one_that_is_closed_just_when_it_is_used_again_costs_nothing(self) -> None:
        for word in (HANG_UP, b"421 4.4.2 idle too long\r\n"):
            self.setUp()
            server = self.serve({b"MAIL": [b"250 ok\r\n", word, b"250 ok\r\n"]})
            self.deliver()
            self.assertEqual([type(outcome) for outcome in self.deliver()], [Delivered] * 2)
            self.assertEqual(len(server.sessions), 2)

    def test_a_fresh_one_that_is_closed_at_once_is_not_tried_again(self) -> None:
        server = self.serve({b"MAIL": HANG_UP})
        self.deferred(self.deliver(), Scope.HOST)
        self.assertEqual(len(server.sessions), 1)

    def test_silence_on_a_kept_one_is_not_tried_again(self) -> None:
        server = self.serve({b"MAIL": [b"250 ok\r\n", SILENCE]})
        self.deliver()
        delivery = self.begin()
        self.turn(MAIL_SECONDS)
        self.deferred(self.successResultOf(delivery), Scope.HOST)
        self.assertEqual(len(server.sessions), 1)

    def test_what_exceeds_the_bound_waits_its_turn(self) -> None:
        server = self.serve({b".": SILENCE})
        waiting = [self.begin(ALICE) for _ in range(5)]
        self.assertEqual(len(server.sessions), 2)
        for _ in range(5):
            for session in server.sessions:
                assert session.transport is not None
                if len(session.messages) > session.lines.count(b"answered"):
                    session.lines.append(b"answered")
                    session.transport.write(b"250 ok\r\n")
            self.turn()
        for delivery in waiting:
            self.assertIsInstance(self.successResultOf(delivery)[0], Delivered)
        self.assertEqual(len(server.sessions), 2)

    def test_a_turn_that_does_not_come_in_time_is_the_hosts_trouble(self) -> None:
        server = self.serve({b".": SILENCE})
        busy = [self.begin(ALICE) for _ in range(2)]
        late = Pending.fromCoroutine(self.client.deliver(STORE, Mail(ANN, SMALL), to(ALICE, BOB), 60.0))
        patient = self.begin(ALICE)
        self.turn(59)
        self.assertNoResult(late)
        self.turn(1)
        self.assertIn("in use", self.deferred(self.successResultOf(late), Scope.HOST))
        for session in server.sessions:
            assert session.transport is not None
            session.transport.write(b"250 ok\r\n")
        self.turn()
        self.assertIsInstance(self.successResultOf(busy[0])[0], Delivered)
        self.assertNoResult(patient)
        self.assertEqual(sum(len(session.messages) for session in server.sessions), 3)

    def test_a_delivery_given_up_while_it_waits_takes_nobodys_turn(self) -> None:
        server = self.serve({b".": [SILENCE, SILENCE, b"250 ok\r\n"]})
        busy = [self.begin(ALICE) for _ in range(2)]
        given_up, patient = self.begin(ALICE), self.begin(ALICE)
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        assert server.sessions[0].transport is not None
        server.sessions[0].transport.write(b"250 ok\r\n")
        self.turn()
        self.assertIsInstance(self.successResultOf(patient)[0], Delivered)
        self.assertIsInstance(self.successResultOf(busy[0])[0], Delivered)

    def test_a_delivery_given_up_in_the_middle_frees_its_place(self) -> None:
        server = self.serve({b"MAIL": SILENCE})
        for _ in range(3):
            delivery = self.begin()
            delivery.cancel()
            self.failureResultOf(delivery, CancelledError)
            self.turn()
            self.assertTrue(server.sessions[-1].closed)
        self.assertEqual(len(server.sessions), 3)
        server.script[b"MAIL"] = b"250 ok\r\n"
        self.assertIsInstance(self.deliver()[0], Delivered)

    def test_a_host_that_cannot_be_reached_is_tried_once_for_all_who_wait(self) -> None:
        self.network.silent.add(ADDR)
        waiting = [self.begin(ALICE) for _ in range(10)]
        self.turn(30)
        for delivery in waiting:
            self.deferred(self.successResultOf(delivery), Scope.HOST, count=1)
        self.assertEqual(len(self.network.dialled), 2)

    def test_after_trouble_there_is_room_again(self) -> None:
        for _ in range(5):
            self.deferred(self.deliver(), Scope.HOST)
        self.serve()
        self.assertIsInstance(self.deliver()[0], Delivered)


class FarewellTest(LmtpCase):
    def test_an_idle_connection_is_left_at_once(self) -> None:
        server = self.serve()
        self.deliver()
        self.client.stop()
        self.turn()
        self.assertEqual(server.sessions[0].lines[-1], b"QUIT")
        self.assertTrue(server.sessions[0].closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_in_use_is_left_after_its_message(self) -> None:
        server = self.serve({b".": SILENCE})
        delivery = self.begin(ALICE)
        self.client.stop()
        self.turn()
        self.assertFalse(server.sessions[0].closed)
        assert server.sessions[0].transport is not None
        server.sessions[0].transport.write(b"250 ok\r\n")
        self.turn()
        self.assertIsInstance(self.successResultOf(delivery)[0], Delivered)
        self.assertTrue(server.sessions[0].closed)

    def test_a_server_that_does_not_answer_quit_is_left_anyway(self) -> None:
        server = self.serve({b"QUIT": SILENCE})
        self.deliver()
        self.turn(10)
        self.assertFalse(server.sessions[0].closed)
        self.turn(GREETING_SECONDS)
        self.assertTrue(server.sessions[0].closed)
