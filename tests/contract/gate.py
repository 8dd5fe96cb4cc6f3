"""A door before PostgreSQL that a test can shut, or let fall silent, while the server behind it goes on."""

from collections.abc import Mapping
from pathlib import Path

from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

PORT = 5432


class Pipe(Protocol):
    """One end of a connection through the gate; what it gets the other end sends."""

    def __init__(self, gate: "Gate") -> None:
        self.gate = gate
        self.other: Pipe | None = None
        self.early = b""

    def connectionMade(self) -> None:
        self.gate.pipes.add(self)

    def dataReceived(self, data: bytes) -> None:
        if self.gate.silent:
            return
        if self.other is None:
            self.early += data
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gate.pipes.discard(self)
        if self.other in self.gate.pipes:
            self.other.transport.loseConnection()
        else:
            self.gate.one_ended()

    def join(self, other: "Pipe") -> "Pipe":
        self.other, other.other = other, self
        other.transport.write(self.early)
        return other


class Gate(Factory):
    """`parameters` lead through the gate, which is a unix socket in `directory`; `connections` were ever made."""

    noisy = False

    def __init__(self, behind: Mapping[str, str], directory: Path) -> None:
        self.silent = False
        self.connections = 0
        self.pipes: set[Pipe] = set()
        self.parameters = {**behind, "host": str(directory), "port": str(PORT)}
        self._path = str(directory / f".s.PGSQL.{PORT}")
        self._ending: list[Deferred[None]] = []
        self._port: IListeningPort | None = None
        host, port = behind.get("host", "/tmp"), behind.get("port", PORT)
        self._behind = (
            UNIXClientEndpoint(reactor, f"{host}/.s.PGSQL.{port}")
            if host.startswith("/")
            else TCP4ClientEndpoint(reactor, host, int(port))
        )

    def buildProtocol(self, address: object) -> Pipe:
        self.connections += 1
        front = Pipe(self)
        connectProtocol(self._behind, Pipe(self)).addCallback(front.join)
        return front

    def when_one_ends(self, ended: "Deferred[None]") -> None:
        """Fire `ended` when the next connection has ended on both sides."""
        self._ending = [ended]

    def one_ended(self) -> None:
        """Tell who waits for it, once the reactor had turns enough to tell the client."""
        if self._ending:
            self._turn(5, self._ending.pop())

    def _turn(self, turns: int, ended: "Deferred[None]") -> None:
        if turns:
            reactor.callLater(0, self._turn, turns - 1, ended)
        else:
            ended.callback(None)

    def open(self) -> None:
        """Let connections through."""
        self.silent = False
        self._port = reactor.listenUNIX(self._path, self)

    async def shut(self) -> None:
        """Refuse new connections and end those there are."""
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()
        for pipe in list(self.pipes):
            pipe.transport.abortConnection()
