"""One exchange of octets with one server: a datagram there and back, or a connection of its own.

Each datagram leaves from a socket of its own, on a port drawn by chance, connected to its server: the kernel passes
on what comes from there, and nothing else (RFC 5452 §9.2). `read` judges what comes: None lets the waiting go on.
"""

import socket
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IReadDescriptor, ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import Int16StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.adapters.resolver.codec import MAX_OCTETS
from mtad.interfaces import INetwork
from mtad.model.endpoint import HostPort

T = TypeVar("T")

# What a server may send beyond what was announced to it; the kernel cuts off the rest.
_DATAGRAM_OCTETS = 4096
# So many, and somebody is guessing: the next attempt has another port and identifier.
MAX_STRANGERS = 20
_FIRST_PORT, _LAST_PORT = 1024, 65535
_PORTS_TRIED = 10


class NoReply(Exception):
    """The server gave no answer; the text says how, in a few words."""


@implementer(IReadDescriptor)
class _Datagrams(Generic[T]):
    """A connected socket that waits for one answer.

    Not a port of Twisted's: those log two lines each, and do not tell their protocol when they break.
    """

    def __init__(self, opened: socket.socket, read: Callable[[bytes], T | None]) -> None:
        self.answered: Deferred[T] = Deferred()
        self._socket = opened
        # The reactor compares it after doRead, in which the socket may have been closed.
        self._number = opened.fileno()
        self._read = read
        self._strangers = 0

    def fileno(self) -> int:
        """Return the socket's number, also when it is closed."""
        return self._number

    def logPrefix(self) -> str:
        """Return what Twisted calls this in its log."""
        return "dns"

    def doRead(self) -> None:
        """Take an answer; pass over what is none, within reason."""
        while self._strangers < MAX_STRANGERS:
            try:
                found = self._read(self._socket.recv(_DATAGRAM_OCTETS))
            except BlockingIOError:
                return
            except OSError as wrong:
                self._end(str(wrong.strerror))
                return
            if found is not None:
                self.answered.callback(found)
                return
            self._strangers += 1
        self._end("many answers to other questions")

    def connectionLost(self, reason: Failure) -> None:
        """End: the machine there says that nobody listens."""
        self._end("Connection refused")

    def _end(self, reason: str) -> None:
        if not self.answered.called:
            self.answered.errback(NoReply(reason))


class _Stream(Int16StringReceiver, Generic[T]):
    """A connection that carries one message each way, their lengths before them (RFC 7766 §8)."""

    MAX_LENGTH = MAX_OCTETS
    transport: ITCPTransport

    def __init__(self, read: Callable[[bytes], T | None]) -> None:
        self.answered: Deferred[T] = Deferred()
        self.closed: Deferred[None] = Deferred()
        self._read = read

    def stringReceived(self, string: bytes) -> None:
        """Take the answer; here nothing else may come."""
        if self.answered.called:
            return
        found = self._read(string)
        if found is None:
            self._end("an answer to another question")
        else:
            self.answered.callback(found)

    def lengthLimitExceeded(self, length: int) -> None:
        """End: an answer this long is none."""
        self._end("an answer too large to be read")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End, if no answer came."""
        self._end("connection closed")
        self.closed.callback(None)

    def _end(self, reason: str) -> None:
        if not self.answered.called:
            self.answered.errback(NoReply(reason))


class Carriage:
    """Exchanges on this reactor; `clock` measures how long they may take."""

    def __init__(self, reactor: IReactorFDSet, network: INetwork, clock: IReactorTime, random: Random) -> None:
        self._reactor = reactor
        self._network = network
        self._clock = clock
        self._random = random

    async def by_datagram(
        self, server: HostPort, octets: bytes, read: Callable[[bytes], T | None], timeout_seconds: float
    ) -> T:
        """Send one datagram and return what `read` made of the answer; raises NoReply."""
        with self._opened(server) as opened:
            try:
                opened.connect((server.host, server.port))
                opened.send(octets)
            except OSError as wrong:
                raise NoReply(str(wrong.strerror)) from wrong
            datagrams = _Datagrams(opened, read)
            self._reactor.addReader(datagrams)
            try:
                return await self._in_time(datagrams.answered, timeout_seconds)
            finally:
                self._reactor.removeReader(datagrams)

    async def by_stream(
        self, server: HostPort, octets: bytes, read: Callable[[bytes], T | None], timeout_seconds: float
    ) -> T:
        """Connect, send, and return what `read` made of the answer; raises NoReply."""
        protocol = _Stream(read)
        factory: Factory[Any] = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        host = f"[{server.host}]" if ":" in server.host else server.host
        try:
            await self._network.dial(f"{host}:{server.port}", factory, timeout_seconds)
        except ConnectError as wrong:
            raise NoReply("no connection over TCP") from wrong
        try:
            protocol.sendString(octets)
            return await self._in_time(protocol.answered, timeout_seconds)
        finally:
            protocol.transport.abortConnection()
            await protocol.closed

    def _opened(self, server: HostPort) -> socket.socket:
        """Open a socket of the server's family on a port drawn by chance; the system's choice if those are taken."""
        try:
            opened = socket.socket(socket.AF_INET6 if ":" in server.host else socket.AF_INET, socket.SOCK_DGRAM)
        except OSError as wrong:
            raise NoReply(str(wrong.strerror)) from wrong
        opened.setblocking(False)
        for _ in range(_PORTS_TRIED):
            try:
                opened.bind(("", self._random.randint(_FIRST_PORT, _LAST_PORT)))
                break
            except OSError:
                continue
        return opened

    def _in_time(self, answered: "Deferred[T]", timeout_seconds: float) -> Awaitable[T]:
        return answered.addTimeout(timeout_seconds, self._clock, _waited_too_long)


def _waited_too_long(_result: object, timeout_seconds: float) -> Failure:
    return Failure(NoReply(f"no answer within {timeout_seconds:g} s"))
