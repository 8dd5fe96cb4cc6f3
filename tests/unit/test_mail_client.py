"""mtad.outbound.client: what a server offers, limits and lacks, and what is remembered of it."""

from collections.abc import Mapping

from twisted.internet.defer import Deferred as Pending
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.envelope import Parameters, Recipient
from mtad.model.next_hop import NextHop, TlsLevel
from mtad.model.outcome import Deferred, Delivered, Failed, Outcome, Scope
from mtad.outbound.client import CONNECT_SECONDS, UNREACHABLE_SECONDS, MailClient
from mtad.outbound.errand import Mail
from mtad.testing.journal import MemoryJournal
from mtad.testing.network import MemoryNetwork
from mtad.testing.scripted import HANG_UP, SILENCE, START_TLS, Answer, ScriptedServer
from mtad.testing.tls import MemoryTls
from tests.unit.recipients import to

ADDR = "192.0.2.25:25"
SMTP = NextHop(host="mx.remote.example", address=ADDR)
ANN = Address("ann", "outside.example")
BOB, CID = Address("bob", "remote.example"), Address("cid", "remote.example")
ZOE = Address("zoë", "remote.example")
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
MAIL = Mail(ANN, CONTENT)
GREETING = b"220 ready\r\n"


class MailClientCase(SynchronousTestCase):
    """A client and a network; `offer` serves a server of these keywords."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.client = MailClient(
            network=self.network,
            tls=MemoryTls(),
            clock=self.clock,
            journal=MemoryJournal(),
            hostname="mx.acme.example",
        )

    def offer(self, *keywords: str, script: Mapping[bytes, Answer] | None = None) -> ScriptedServer:
        lines = "".join(f"250-{keyword}\r\n" for keyword in keywords)
        hello = f"250-hi\r\n{lines}250 HELP\r\n".encode()
        server = ScriptedServer(GREETING, {b"EHLO": hello, **(script or {})})
        self.network.serve(ADDR, server)
        return server

    def turn(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        for _ in range(200):
            self.clock.advance(0)

    def deliver(self, *recipients: Recipient, mail: Mail = MAIL, hop: NextHop = SMTP) -> list[Outcome]:
        delivery = Pending.fromCoroutine(self.client.deliver(hop, mail, recipients or to(BOB)))
        self.turn()
        return self.successResultOf(delivery)

    def transactions(self, server: ScriptedServer) -> list[int]:
        """Return how many recipients each transaction of a server had."""
        counts: list[int] = []
        for line in server.lines:
            if line.startswith(b"MAIL"):
                counts.append(0)
            elif line.startswith(b"RCPT"):
                counts[-1] += 1
        return counts


class LimitsTest(MailClientCase):
    """A server's LIMITS are kept (RFC 9422)."""

    def test_recipients_a_transaction(self) -> None:
        server = self.offer("LIMITS RCPTMAX=2", "PIPELINING")
        outcomes = self.deliver(*to(*[BOB] * 5))
        self.assertEqual([type(outcome) for outcome in outcomes], [Delivered] * 5)
        self.assertEqual(self.transactions(server), [2, 2, 1])
        self.assertEqual(len(server.sessions), 1)

    def test_without_one_a_hundred(self) -> None:
        server = self.offer("PIPELINING")
        self.deliver(*to(*[BOB] * 150))
        self.assertEqual(self.transactions(server), [100, 50])

    def test_messages_a_connection(self) -> None:
        server = self.offer("LIMITS MAILMAX=2")
        for _ in range(5):
            self.assertIsInstance(self.deliver()[0], Delivered)
        self.assertEqual([len(session.messages) for session in server.sessions], [2, 2, 1])

    def test_domains_a_transaction(self) -> None:
        server = self.offer("LIMITS RCPTDOMAINMAX=1")
        self.deliver(*to(BOB, Address("eve", "other.example"), CID))
        self.assertEqual(self.transactions(server), [2, 1])

    def test_a_server_that_takes_few_and_its_time_is_not_waited_for_all_day(self) -> None:
        server = self.offer("LIMITS RCPTMAX=1", script={b"MAIL": SILENCE})
        delivery = Pending.fromCoroutine(self.client.deliver(SMTP, MAIL, to(*[BOB] * 1000), patience_seconds=600))
        self.turn()
        (session,) = server.sessions
        assert session.transport is not None
        for _ in range(3):
            self.assertNoResult(delivery)
            self.turn(250)
            session.transport.write(b"250 ok\r\n")
            self.turn()
        outcomes = self.successResultOf(delivery)
        self.assertEqual([type(outcome) for outcome in outcomes], [Delivered] * 3 + [Deferred] * 997)
        self.assertEqual({outcome.scope for outcome in outcomes if isinstance(outcome, Deferred)}, {Scope.HOST})
        self.assertEqual(len(session.messages), 3)


class UnfitTest(MailClientCase):
    """What a server cannot take is not sent to it."""

    def failed(self, outcome: Outcome, status: str) -> None:
        assert isinstance(outcome, Failed), outcome
        self.assertEqual((outcome.status, outcome.scope), (status, Scope.HOST))
        assert outcome.remote is not None
        self.assertEqual((outcome.remote.host, outcome.remote.address), ("mx.remote.example", ADDR))

    def test_a_message_above_its_size_fails_before_mail(self) -> None:
        server = self.offer(f"SIZE {len(CONTENT) - 1}")
        for outcome in self.deliver(*to(BOB, CID)):
            self.failed(outcome, "5.3.4")
        self.assertEqual(server.lines, [b"EHLO mx.acme.example"])

    def test_a_message_of_its_size_goes(self) -> None:
        server = self.offer(f"SIZE {len(CONTENT)}")
        self.assertIsInstance(self.deliver()[0], Delivered)
        self.assertIn(b"MAIL FROM:<ann@outside.example> SIZE=%d" % len(CONTENT), server.lines)

    def test_without_smtputf8_only_who_needs_it_fails(self) -> None:
        server = self.offer("8BITMIME")
        bob, zoe, cid = self.deliver(*to(BOB, ZOE, CID))
        self.assertEqual([type(bob), type(cid)], [Delivered] * 2)
        self.failed(zoe, "5.6.7")
        self.assertEqual(self.transactions(server), [2])
        self.assertEqual(len(server.sessions), 1)

    def test_with_smtputf8_all_get_it(self) -> None:
        server = self.offer("8BITMIME", "SMTPUTF8")
        self.assertEqual([type(outcome) for outcome in self.deliver(*to(BOB, ZOE))], [Delivered] * 2)
        self.assertIn(b"MAIL FROM:<ann@outside.example> SMTPUTF8", server.lines)
        self.assertIn("RCPT TO:<zoë@remote.example>".encode(), server.lines)

    def test_a_declared_header_needs_it_and_a_body_does_not(self) -> None:
        self.offer("8BITMIME")
        declared = Parameters(smtputf8=True)
        (outcome,) = self.deliver(mail=Mail(ANN, "Subject: é\r\n\r\nx\r\n".encode(), declared))
        self.failed(outcome, "5.6.7")
        for content, parameters in (("Subject: x\r\n\r\né\r\n", declared), ("Subject: é\r\n\r\nx\r\n", Parameters())):
            self.assertIsInstance(self.deliver(mail=Mail(ANN, content.encode(), parameters))[0], Delivered)

    def test_without_8bitmime_the_message_goes_as_it_is(self) -> None:
        server = self.offer()
        content = "Subject: x\r\n\r\né\r\n".encode()
        self.assertIsInstance(self.deliver(mail=Mail(ANN, content))[0], Delivered)
        self.assertEqual(server.messages, [content])
        self.assertIn(b"MAIL FROM:<ann@outside.example>", server.lines)


class NotificationTest(MailClientCase):
    """Who tells the sender (RFC 3461)."""

    def delivered(self) -> Delivered:
        mail = Mail(ANN, CONTENT, Parameters(ret="HDRS", envid="x1"))
        (outcome,) = self.deliver(*to(BOB, notify="SUCCESS"), mail=mail)
        assert isinstance(outcome, Delivered), outcome
        return outcome

    def test_a_server_with_dsn_takes_over(self) -> None:
        server = self.offer("DSN")
        self.assertTrue(self.delivered().dsn)
        self.assertEqual(
            server.lines[1:3],
            [
                b"MAIL FROM:<ann@outside.example> RET=HDRS ENVID=x1",
                b"RCPT TO:<bob@remote.example> NOTIFY=SUCCESS ORCPT=rfc822;bob@remote.example",
            ],
        )

    def test_one_without_does_not(self) -> None:
        server = self.offer()
        self.assertFalse(self.delivered().dsn)
        self.assertEqual(server.lines[1:3], [b"MAIL FROM:<ann@outside.example>", b"RCPT TO:<bob@remote.example>"])


class LevelTest(MailClientCase):
    """What TLS must be there."""

    def test_levels_do_not_share_connections(self) -> None:
        server = self.offer("STARTTLS", script={b"STARTTLS": START_TLS})
        for tls, sessions in ((TlsLevel.MAY, 1), (TlsLevel.MAY, 1), (TlsLevel.ENCRYPT, 2), (TlsLevel.NONE, 3)):
            self.assertIsInstance(self.deliver(hop=NextHop("mx.remote.example", ADDR, tls=tls))[0], Delivered)
            self.assertEqual(len(server.sessions), sessions)

    def test_trouble_has_a_status_of_its_own(self) -> None:
        for answer, status in ((HANG_UP, "4.7.5"), (b"454 4.7.0 not now\r\n", "4.7.0")):
            self.setUp()
            self.offer("STARTTLS", script={b"STARTTLS": answer})
            (outcome,) = self.deliver(hop=NextHop("mx.remote.example", ADDR, tls=TlsLevel.ENCRYPT))
            assert isinstance(outcome, Deferred), outcome
            self.assertEqual((outcome.status, outcome.scope), (status, Scope.HOST))
        self.setUp()
        server = self.offer()
        (outcome,) = self.deliver(hop=NextHop("mx.remote.example", ADDR, tls=TlsLevel.VERIFY))
        assert isinstance(outcome, Deferred), outcome
        self.assertEqual((outcome.status, outcome.scope), ("4.7.4", Scope.HOST))
        self.assertNotIn(b"MAIL FROM:<ann@outside.example>", server.lines)


class UnreachableTest(MailClientCase):
    """A server that could not be reached is remembered for a minute."""

    def test_one_that_nobody_listens_at(self) -> None:
        self.assertFalse(self.client.is_unreachable(ADDR))
        self.deliver()
        self.assertTrue(self.client.is_unreachable(ADDR))
        self.turn(UNREACHABLE_SECONDS)
        self.assertFalse(self.client.is_unreachable(ADDR))

    def test_one_that_does_not_answer_and_one_that_does_not_greet(self) -> None:
        self.network.silent.add(ADDR)
        delivery = Pending.fromCoroutine(self.client.deliver(SMTP, MAIL, to(BOB)))
        self.turn(CONNECT_SECONDS)
        self.assertIsInstance(self.successResultOf(delivery)[0], Deferred)
        self.assertTrue(self.client.is_unreachable(ADDR))
        self.setUp()
        self.network.serve(ADDR, ScriptedServer(SILENCE))
        delivery = Pending.fromCoroutine(self.client.deliver(SMTP, MAIL, to(BOB)))
        self.turn()
        self.turn(300)
        self.assertIsInstance(self.successResultOf(delivery)[0], Deferred)
        self.assertTrue(self.client.is_unreachable(ADDR))

    def test_one_that_speaks_is_reached_whatever_it_says(self) -> None:
        self.deliver()
        self.network.serve(ADDR, ScriptedServer(b"421 4.3.2 busy\r\n"))
        self.deliver()
        self.assertFalse(self.client.is_unreachable(ADDR))
