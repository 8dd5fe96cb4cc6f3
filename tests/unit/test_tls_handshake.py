"""mtad.inbound.protocol: a handshake has its time, whatever comes; with real TLS over a transport in memory."""

import contextlib
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.tls.contexts import TlsContexts, unverifying
from mtad.inbound.admission import Admission
from mtad.inbound.backpressure import Backpressure
from mtad.inbound.dialogue import Terms
from mtad.inbound.factory import ReceivingFactory
from mtad.inbound.protocol import HANDSHAKE_SECONDS, SmtpProtocol
from mtad.inbound.session import InboundSession
from mtad.model.strain import Strain
from mtad.policy.connection import Limits
from mtad.scheduling.memory import Memory
from mtad.testing.journal import MemoryJournal
from mtad.testing.spool import MemorySpool
from tests.contract.certificates import served, write_certificate

PEER = IPv4Address("TCP", "192.0.2.7", 40000)


class Wire:
    """A connection that goes over to TLS as Twisted's do: from then on TLS is between its octets and its protocol."""

    def __init__(self, protocol: SmtpProtocol, clock: Clock) -> None:
        self.protocol: SmtpProtocol | TLSMemoryBIOProtocol = protocol
        self.below = StringTransport(peerAddress=PEER)
        self._clock = clock
        self._above: Any = self.below

    def __getattr__(self, name: str) -> Any:
        return getattr(self._above, name)

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def startTLS(self, context: object) -> None:
        factory = TLSMemoryBIOFactory(context, False, None, self._clock)
        self.protocol = self._above = TLSMemoryBIOProtocol(factory, self.protocol, False)
        self.protocol.makeConnection(self.below)


class Client:
    """The other end of a handshake."""

    def __init__(self) -> None:
        self.tls = SSL.Connection(unverifying(), None)
        self.tls.set_connect_state()

    def says(self, heard: bytes = b"") -> bytes:
        """Return what it sends when it has heard that."""
        if heard:
            self.tls.bio_write(heard)
        with contextlib.suppress(SSL.WantReadError):
            self.tls.do_handshake()
        return self.tls.bio_read(65536)


class HandshakeTest(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.clock = Clock()
        self.journal = MemoryJournal()
        spool = MemorySpool()
        terms = Terms(
            port="smtp",
            hostname="mx.test",
            max_message_size=1_000_000,
            clock=self.clock,
            journal=self.journal,
            tls=TlsContexts(served(*write_certificate(directory))),
            backpressure=Backpressure(
                memory=Memory(1 << 26),
                strain=Strain,
                spool=spool,
                least_room_octets=0,
                clock=self.clock,
                journal=self.journal,
            ),
            spool=spool,
            implicit_tls=True,
        )
        factory = ReceivingFactory(
            terms=terms, admission=Admission(Limits(10, 10)), proxies=(), make_session=self.nobody
        )
        session = factory.buildProtocol(PEER)
        assert isinstance(session, SmtpProtocol)
        self.wire: Any = Wire(session, self.clock)
        session.makeConnection(self.wire)
        self.client = Client()

    def nobody(self) -> InboundSession:
        raise AssertionError("nothing is sent here")

    def tell(self, octets: bytes) -> bytes:
        """Let octets arrive; return what they are answered."""
        self.wire.protocol.dataReceived(octets)
        self.clock.advance(0)
        answer = self.wire.below.value()
        self.wire.below.clear()
        return answer

    def test_octets_now_and_then_win_no_time(self) -> None:
        hello = self.client.says()
        for second in range(int(HANDSHAKE_SECONDS)):
            self.assertFalse(self.wire.below.disconnecting, second)
            self.tell(hello[second : second + 1])
            self.clock.advance(1)
        self.assertTrue(self.wire.below.disconnecting)
        self.assertEqual(len(self.journal.of("smtp.timeout")), 1)

    def test_who_is_done_in_time_is_greeted_and_stays(self) -> None:
        hello = self.client.says()
        self.tell(hello[:50])
        self.clock.advance(HANDSHAKE_SECONDS - 1)
        self.client.tls.bio_write(self.tell(self.client.says(self.tell(hello[50:]))))
        self.assertEqual(self.client.tls.recv(100), b"220 mx.test ESMTP mtad\r\n")
        self.clock.advance(60)
        self.assertFalse(self.wire.below.disconnecting)
