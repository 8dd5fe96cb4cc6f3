"""The network's twin: listeners, dials and peers in one process, moved by a Clock.

    network = MemoryNetwork(clock)
    line = network.connect(":25", peer=("192.0.2.7", 40000))     # a client the test plays by hand
    network.serve("127.0.0.1:24", ScriptedServer(b"220 ready\\r\\n", {b"LHLO": b"250 ready\\r\\n"}))

Nothing happens inside a call but `connect`: the rest takes turns of the clock (`clock.advance(0)`). An address nobody
listens at refuses; one of `silent` never answers.
"""

from collections.abc import Callable
from typing import TypeVar, cast

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.interfaces import IListener, INetwork
from mtad.model.endpoint import HostPort, UnixPath, parse
from mtad.model.errors import InvalidInput
from mtad.testing.wire import BUFFER_OCTETS, Flow, MemoryTransport

FIRST_PORT = 49152
THIS_MACHINE = ("", "127.0.0.1", "::1", "localhost")
"""Where a listener of every address is reached."""

EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing is bound here

AnyAddress = IPv4Address | IPv6Address | UNIXAddress
_Build = Callable[[AnyAddress], Protocol | None]
T = TypeVar("T")


class Line(Protocol):
    """A connection's far end in the hands of a test: say what is sent, look at what came."""

    transport: MemoryTransport

    def __init__(self) -> None:
        self.received = b""
        self.closed = False
        self.reason: Failure | None = None

    def send(self, data: bytes) -> None:
        """Send octets; they arrive when the clock turns."""
        self.transport.write(data)

    def take(self) -> bytes:
        """Return what came since the last `take`, and forget it."""
        taken, self.received = self.received, b""
        return taken

    def hang_up(self) -> None:
        """Close in good order, after what was sent."""
        self.transport.loseConnection()

    def abort(self) -> None:
        """Break the connection."""
        self.transport.abortConnection()

    def start_tls(self) -> None:
        """Speak TLS from here on."""
        self.transport.startTLS(self)

    def dataReceived(self, data: bytes) -> None:
        """Keep what came."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep why it ended."""
        self.closed = True
        self.reason = reason


@implementer(IListener)
class MemoryPort:
    """A listener of a MemoryNetwork, until it is stopped."""

    def __init__(self, host: AnyAddress, stop: Callable[[], object]) -> None:
        self._host = host
        self._stop = stop
        self._waiting: list[Callable[[], object]] | None = None

    def startListening(self) -> None:
        """Do nothing: it listens since it exists."""

    def stopListening(self) -> "Deferred[None]":
        """Refuse further connections; those there are go on."""
        self._stop()
        return succeed(None)

    def getHost(self) -> AnyAddress:
        """Return the address it listens at."""
        return self._host

    def pause(self) -> None:
        """Let whoever connects wait."""
        self._waiting = self._waiting or []

    def resume(self) -> None:
        """Take whoever connects, and who waited."""
        waiting, self._waiting = self._waiting or [], None
        for connect in waiting:
            connect()

    def take(self, connect: Callable[[], object]) -> None:
        """Connect somebody now, or when it pauses no more."""
        if self._waiting is None:
            connect()
        else:
            self._waiting.append(connect)


@implementer(INetwork)
class MemoryNetwork:
    """`dialled` lists the addresses in the order they were dialled, `sources` where from, None where nobody cared.

    `own` are the addresses of the machine it plays; `segment_octets` is how much one read returns.
    """

    def __init__(self, clock: IReactorTime, segment_octets: int = BUFFER_OCTETS) -> None:
        self.silent: set[str] = set()
        self.own: set[str] = {"127.0.0.1", "::1"}
        self.dialled: list[str] = []
        self.sources: list[str | None] = []
        self.segment_octets = segment_octets
        self._clock = clock
        self._listeners: dict[HostPort | UnixPath, Factory] = {}
        self._ports: dict[HostPort | UnixPath, MemoryPort] = {}
        self._next_port = FIRST_PORT

    def listen(self, address: str, factory: Factory) -> MemoryPort:
        """Register a factory; InvalidInput when the address is none or taken."""
        try:
            where = parse(address)
        except ValueError as wrong:
            raise InvalidInput(address, str(wrong)) from wrong
        if isinstance(where, HostPort) and where.port == 0:
            where = HostPort(where.host, self._free_port())
        if where in self._listeners:
            raise InvalidInput(address, "cannot listen there: Address already in use")
        self._listeners[where] = factory
        factory.doStart()
        port = self._ports[where] = MemoryPort(_named(where), lambda: self._close(where))
        return port

    def dial(
        self, address: str, factory: Factory, timeout_seconds: float, source: str | None = None
    ) -> "Deferred[Protocol]":
        """Connect in the clock's next turn; refused where nobody listens, timed out where `silent` says so."""
        try:
            where = parse(address)
        except ValueError as wrong:
            return fail(error.ConnectError(string=str(wrong)))
        self.dialled.append(address)
        self.sources.append(source)
        connected: Deferred[Protocol] = Deferred(
            lambda given_up: given_up.errback(error.ConnectingCancelledError(_named(where)))
        )
        if address in self.silent:
            answer = self._clock.callLater(timeout_seconds, lambda: connected.errback(error.TimeoutError()))
        else:
            caller = _named(HostPort(source or "127.0.0.1", self._free_port()))
            answer = self._clock.callLater(0, self._answer, connected, where, factory, caller)
        connected.addBoth(_cancelling, answer)
        return connected

    def is_ours(self, address: str) -> bool:
        """Tell whether an address is one of `own`."""
        return address in self.own

    def connect(self, address: str, peer: tuple[str, int] = ("192.0.2.7", 40000)) -> Line:
        """Connect at once as `peer` and return the test's end; ConnectionRefusedError when nobody listens."""
        line = Line()
        where = self._place(parse(address))
        if where is None:
            raise error.ConnectionRefusedError(address)
        self._ports[where].take(lambda: self._couple(where, _named(HostPort(*peer)), lambda _: line))
        return line

    def serve(self, address: str, factory: Factory) -> MemoryPort:
        """Let a scripted peer listen: `listen` under a name that says so."""
        return self.listen(address, factory)

    def _answer(
        self, connected: "Deferred[Protocol]", where: HostPort | UnixPath, factory: Factory, caller: AnyAddress
    ) -> None:
        place = self._place(where)
        if place is None:
            connected.errback(error.ConnectionRefusedError())
        else:
            self._ports[place].take(lambda: self._reach(connected, where, factory, caller))

    def _reach(
        self, connected: "Deferred[Protocol]", where: HostPort | UnixPath, factory: Factory, caller: AnyAddress
    ) -> None:
        made: list[Protocol] = []

        def build(where: AnyAddress) -> Protocol | None:
            protocol = cast(Protocol | None, factory.buildProtocol(where))
            made.extend([protocol] if protocol else [])
            return protocol

        self._couple(where, caller, build)
        if not made:
            connected.errback(error.ConnectError(string="the factory wants no connection"))
        else:
            connected.callback(made[0])

    def _couple(self, where: HostPort | UnixPath, caller: AnyAddress, build: _Build) -> None:
        """Join a new client to the listener. A factory that builds None hangs up."""
        place = self._place(where)
        if place is None:
            return
        factory = self._listeners[place]
        called = _named(HostPort(where.host or "127.0.0.1", where.port) if isinstance(where, HostPort) else where)
        client = build(called)
        if client is None:
            return
        server = cast(Protocol | None, factory.buildProtocol(caller))
        near = MemoryTransport(self._clock, caller, called, self.segment_octets)
        far = MemoryTransport(self._clock, called, caller, self.segment_octets)
        there, back = Flow(), Flow()
        near.join(client, far, there, back)
        far.join(server or Protocol(), near, back, there)
        far.protocol.makeConnection(far)
        client.makeConnection(near)
        if server is None:
            far.loseConnection()

    def _place(self, where: HostPort | UnixPath) -> HostPort | UnixPath | None:
        """Return the address of the listener that is reached there."""
        if where in self._listeners:
            return where
        if isinstance(where, HostPort) and where.host in THIS_MACHINE and HostPort("", where.port) in self._listeners:
            return HostPort("", where.port)
        return None

    def _close(self, where: HostPort | UnixPath) -> None:
        self._ports.pop(where, None)
        factory = self._listeners.pop(where, None)
        if factory is not None:
            factory.doStop()

    def _free_port(self) -> int:
        self._next_port += 1
        return self._next_port


def _named(where: HostPort | UnixPath) -> AnyAddress:
    if isinstance(where, UnixPath):
        return UNIXAddress(where.path.encode())
    kind = IPv6Address if ":" in where.host else IPv4Address
    return kind("TCP", where.host or EVERYWHERE, where.port)


def _cancelling(result: T, call: IDelayedCall) -> T:
    if call.active():
        call.cancel()
    return result
