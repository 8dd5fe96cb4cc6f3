"""Connections from load balancers: a PROXY header first, then the session, as if from the address in it.

The header is below all else, TLS included. So it is read by a protocol of its own, which then leaves the transport to
the session: nothing stays between the two. Whether a connection must have a header is known before it sends anything;
one that lacks it, or is slow with it, is closed without a word.
"""

from collections.abc import Callable

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IReactorTime, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import Attribute

from mtad.interfaces import IJournal
from mtad.smtp import proxy
from mtad.smtp.proxy import Bad, Source

HEADER_SECONDS = 5.0
NO_REPLY = "closed without a word"
"""What the journal says in place of a reply."""


class IHandedOver(ITransport):
    """A transport that can be given to another protocol."""

    protocol = Attribute("Whom it tells what arrives, and the end.")


class ProxiedProtocol(Protocol):
    """Reads the header of a connection from the balancer at `host`, then leaves it to what `make_session` returns.

    It was let in as the balancer's: `leave` is called once, before the session is made, or when there will be none.
    `make_session` is told whom the connection is from; None from it closes the connection.
    """

    transport: IHandedOver

    def __init__(
        self,
        *,
        host: str,
        clock: IReactorTime,
        journal: IJournal,
        leave: Callable[[], None],
        make_session: Callable[[IAddress], IProtocol | None],
    ) -> None:
        self._host = host
        self._clock = clock
        self._journal = journal
        self._leave: Callable[[], None] | None = leave
        self._make_session = make_session
        self._octets = b""
        self._patience: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Wait for the header, not for long."""
        self._patience = self._clock.callLater(HEADER_SECONDS, self._give_up)

    def dataReceived(self, data: bytes) -> None:
        """Read the header; what comes behind it is the session's."""
        if self._patience is None:
            return
        self._octets += data
        header = proxy.read(self._octets)
        if isinstance(header, Bad):
            self._refuse(header.reason)
        elif header is not None:
            self._wait_no_more()
            self._hand_over(header.source, header.rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Wait no more."""
        self._wait_no_more()
        self._make_room()

    def _give_up(self) -> None:
        self._refuse(f"no header within {HEADER_SECONDS:g} s")

    def _refuse(self, why: str) -> None:
        self._wait_no_more()
        self._journal.record(
            "smtp.rejected", stage="connect", reason="proxy-header", reply=NO_REPLY, peer=self._host, detail=why
        )
        self.transport.loseConnection()

    def _wait_no_more(self) -> None:
        patience, self._patience = self._patience, None
        if patience is not None and patience.active():
            patience.cancel()

    def _make_room(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def _hand_over(self, source: Source | None, rest: bytes) -> None:
        self._make_room()
        session = self._make_session(self.transport.getPeer() if source is None else _address(source))
        if session is None:
            self.transport.loseConnection()
            return
        self.transport.protocol = session
        session.makeConnection(self.transport)
        if rest:
            # The session may have put TLS in its place.
            self.transport.protocol.dataReceived(rest)


def _address(source: Source) -> IPv4Address | IPv6Address:
    kind = IPv6Address if ":" in source.host else IPv4Address
    return kind("TCP", source.host, source.port)
