"""Deliveries over real sockets and real TLS: what memory cannot play."""

from pathlib import Path

from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred as Pending
from twisted.internet.ssl import Certificate
from twisted.trial.unittest import TestCase

from mtad.adapters.network import SocketNetwork
from mtad.adapters.tls.contexts import TlsContexts
from mtad.model.address import Address
from mtad.model.next_hop import NextHop, TlsLevel
from mtad.model.outcome import CLEAR, Deferred, Delivered, Outcome
from mtad.outbound.client import MailClient
from mtad.outbound.content_flow import ContentFlow
from mtad.outbound.errand import Mail
from mtad.outbound.session import ClientSession
from mtad.testing.journal import MemoryJournal
from mtad.testing.scripted import START_TLS, Answer, ScriptedServer, ScriptedSession
from tests.contract.certificates import NAME, served, write_certificate
from tests.unit.recipients import to

ANN, BOB = Address("ann", "acme.example"), Address("bob", "remote.example")
SMALL = b"Subject: hi\r\n\r\nhello\r\n"
LARGE = b"Subject: large\r\n\r\n" + b".all of its lines begin with a dot\r\n" * 31_700
OFFER = b"250-hi\r\n250 STARTTLS\r\n"


class CapturingNetwork(SocketNetwork):
    """Knows the session that was made last."""

    def dial(self, address: str, factory: object, timeout_seconds: float, source: str | None = None) -> Pending:
        return super().dial(address, factory, timeout_seconds, source).addCallback(self.capture)

    def capture(self, session: ClientSession) -> ClientSession:
        self.session = session
        return session


class TlsDeliveryTest(TestCase):
    timeout = 30

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        cert_file, key_file = write_certificate(directory)
        self.contexts = TlsContexts(served(cert_file, key_file), Certificate.loadPEM(cert_file.read_bytes()))
        self.network = CapturingNetwork(reactor)
        self.journal = MemoryJournal()
        self.may_send = lambda: True

    def serve(self, starttls: Answer = START_TLS, **script: Answer) -> ScriptedServer:
        answers = {verb.encode(): answer for verb, answer in script.items()}
        server = ScriptedServer(b"220 ready\r\n", {b"EHLO": OFFER, b"STARTTLS": starttls, **answers})
        server.tls_context = self.contexts.server()
        port = self.network.listen("127.0.0.1:0", server)
        self.addCleanup(port.stopListening)
        self.server = server
        self.address = f"127.0.0.1:{port.getHost().port}"
        return server

    async def deliver(
        self, level: TlsLevel, content: bytes = SMALL, contexts: TlsContexts | None = None, host: str = NAME
    ) -> Outcome:
        client = MailClient(
            network=self.network,
            tls=contexts or self.contexts,
            clock=reactor,
            journal=self.journal,
            hostname="mx.acme.example",
        )
        (outcome,) = await client.deliver(
            NextHop(host, self.address, tls=level), Mail(ANN, content, may_send=lambda: self.may_send()), to(BOB)
        )
        client.stop()
        if self.network.session.transport.connected:
            await self.lost(self.network.session)
        for session in self.server.sessions:
            if not session.closed:
                await self.lost(session)
        return outcome

    def lost(self, session: ClientSession | ScriptedSession) -> "Pending[None]":
        """Fire when a connection is over."""
        lost: Pending[None] = Pending()
        hear = session.connectionLost
        session.connectionLost = lambda reason: (hear(reason), lost.callback(None))
        return lost

    def tls(self, outcome: Outcome) -> str | None:
        assert outcome.remote is not None
        return outcome.remote.tls

    async def test_each_level(self) -> None:
        server = self.serve()
        for level in (TlsLevel.MAY, TlsLevel.ENCRYPT, TlsLevel.VERIFY):
            outcome = await self.deliver(level)
            self.assertIsInstance(outcome, Delivered)
            self.assertEqual(self.tls(outcome), "TLSv1.3")
        self.assertEqual(server.messages, [SMALL] * 3)

    async def test_a_certificate_that_is_not_to_be_trusted(self) -> None:
        server = self.serve()
        for contexts, host in ((TlsContexts(), NAME), (self.contexts, "mx.other.example")):
            outcome = await self.deliver(TlsLevel.VERIFY, contexts=contexts, host=host)
            assert isinstance(outcome, Deferred), outcome
            self.assertIn("while TLS was to begin", outcome.detail)
        self.assertEqual(server.lines, [b"EHLO mx.acme.example", b"STARTTLS"] * 2)

    async def test_tls_that_cannot_be_begun_is_done_without_or_not_at_all(self) -> None:
        def nonsense(session: ScriptedSession, _: bytes) -> Answer:
            session.dataReceived = lambda _: session.transport.write(b"250 this is no TLS\r\n")
            return b"220 go\r\n"

        self.serve(nonsense)
        outcome = await self.deliver(TlsLevel.MAY)
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(self.tls(outcome), CLEAR)
        self.assertEqual(len(self.journal.of("delivery.tls_failed")), 1)
        self.assertIsInstance(await self.deliver(TlsLevel.ENCRYPT), Deferred)

    async def test_a_large_message_arrives_whole(self) -> None:
        server = self.serve()
        self.assertIsInstance(await self.deliver(TlsLevel.MAY, LARGE), Delivered)
        self.assertTrue(server.messages == [LARGE.replace(b"\r\n.", b"\r\n..")])

    async def test_the_lease_is_asked_when_all_but_the_dot_has_left_the_socket(self) -> None:
        waiting: list[int] = []
        asked: list[object] = []

        def may_send() -> bool:
            session = getattr(self.network, "session", None)
            if session is None:
                return True  # asked before it dials
            transport = session.transport
            assert isinstance(transport, FileDescriptor)
            waiting.append(len(transport.dataBuffer) - transport.offset + transport._tempDataLen)
            return len(waiting) < 2

        def watched(session: ScriptedSession, _: bytes) -> bytes:
            hear = session.dataReceived
            session.dataReceived = lambda data: (asked.append(self.network.session.transport.producer), hear(data))
            return b"354 go\r\n"

        self.may_send = may_send
        server = self.serve(DATA=watched)
        outcome = await self.deliver(TlsLevel.MAY, LARGE)
        assert isinstance(outcome, Deferred), outcome
        self.assertIn("lease", outcome.detail)
        self.assertEqual(waiting, [0, 0])
        # TLS would stand between the two, and say that there is room when there is.
        self.assertIsInstance(asked[0], ContentFlow)
        self.assertEqual(len(server.messages), 0)
