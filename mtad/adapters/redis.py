"""Redis or Valkey: what may be lost (DESIGN D4). One connection, kept by itself.

txredisapi speaks the protocol; connecting is done here, because its own factory gives up for good when the server
answers AUTH or SELECT with an error, as one that is loading its data does. It imports the reactor, so it is imported
only when the first connection is made. A server that is away costs its callers an Unavailable and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as WaitedTooLong
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.interfaces import IDependency, INetwork
from mtad.model.endpoint import HostPort, parse
from mtad.model.errors import InvalidInput, Unavailable
from mtad.model.text import shown

CONNECT_SECONDS = 5.0
REPLY_SECONDS = 2.0
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

Word = str | bytes | int | float


@dataclass(frozen=True, slots=True)
class RedisServer:
    """Where the server is and how one is let in. `addr` is `host:port` or the path of a unix socket."""

    addr: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: bool = False


@implementer(IDependency)
class Redis(Service):
    """A connection to `server` while the service runs, made again after pauses of 0.1 s to 5 s when it is lost."""

    name = "redis"
    _log = Logger()

    def __init__(self, *, server: RedisServer, network: INetwork, clock: IReactorTime, random: Random) -> None:
        self._server = server
        self._host = _host(server)
        self._network = network
        self._clock = clock
        self._random = random
        self._protocol: Any = None
        self._trouble = "not connected yet"
        self._keeping: Deferred[None] | None = None
        self._tried = False
        self._curious: list[Deferred[None]] = []

    async def settled(self) -> None:
        """Return once the first attempt to connect has ended, well or not."""
        if not self._tried:
            waiter: Deferred[None] = Deferred()
            self._curious.append(waiter)
            await waiter

    async def check(self) -> None:
        """Return when the server answers PING (IDependency)."""
        await self.command("PING")

    async def command(self, *words: Word) -> Any:
        """Return the reply to a command; Unavailable without a connection, or without a good reply within 2 s."""
        if self._protocol is None:
            raise Unavailable("redis", self._trouble)
        return await self._ask(self._protocol, words)

    def startService(self) -> None:
        """Connect, and keep it so."""
        Service.startService(self)
        self._keeping = Deferred.fromCoroutine(self._keep_connected())
        self._keeping.addErrback(_stopped)

    def stopService(self) -> "Deferred[None]":
        """Close the connection, or give up making one; fires when that is done."""
        Service.stopService(self)
        keeping, self._keeping = self._keeping, None
        if keeping is None:
            return succeed(None)
        keeping.cancel()
        return keeping

    async def _keep_connected(self) -> None:
        pause_seconds = SHORTEST_PAUSE_SECONDS
        while True:
            try:
                await self._use(await self._connected())
                pause_seconds = SHORTEST_PAUSE_SECONDS
            except (CancelledError, ConnectingCancelledError):
                raise
            except Unavailable as trouble:
                self._trouble = trouble.reason
            except Exception as surprise:
                self._log.failure("the connection to redis failed in an unexpected way")
                self._trouble = shown(repr(surprise))
            self._tell_tried()
            await deferLater(self._clock, pause_seconds * (0.5 + self._random.random()))
            pause_seconds = min(pause_seconds * 2, LONGEST_PAUSE_SECONDS)

    async def _connected(self) -> Any:
        """Return a protocol that was let in and answers; Unavailable says why there is none."""
        connections = _Connections()
        factory: Any = connections
        if self._host is not None:
            factory = TLSMemoryBIOFactory(optionsForClientTLS(self._host), True, connections)
        try:
            await self._network.dial(self._server.addr, factory, CONNECT_SECONDS)
        except ConnectError as trouble:
            raise Unavailable("redis", f"cannot connect to {self._server.addr}: {shown(str(trouble))}") from trouble
        protocol = connections.made
        try:
            await self._introduce(protocol)
        except BaseException:
            protocol.transport.abortConnection()
            raise
        return protocol

    async def _introduce(self, protocol: Any) -> None:
        server = self._server
        if server.password is not None:
            await self._ask(protocol, ("AUTH", *([server.username] if server.username else []), server.password))
        if server.db:
            await self._ask(protocol, ("SELECT", server.db))
        await self._ask(protocol, ("PING",))

    async def _use(self, protocol: Any) -> None:
        """Let commands through until the connection is lost, or we stop."""
        self._protocol = protocol
        self._tell_tried()
        try:
            await protocol.whenDisconnected()
        finally:
            self._protocol = None
            self._trouble = "the connection was lost"
            protocol.transport.abortConnection()

    def _tell_tried(self) -> None:
        self._tried = True
        curious, self._curious = self._curious, []
        for waiter in curious:
            # In a turn of its own: who hears of it may stop us, and what runs cannot be cancelled.
            self._clock.callLater(0, waiter.callback, None)

    async def _ask(self, protocol: Any, words: Sequence[Word]) -> Any:
        try:
            reply: Deferred[Any] = protocol.execute_command(*words)
            return await reply.addTimeout(REPLY_SECONDS, self._clock)
        except WaitedTooLong as trouble:
            # Whatever comes now would be taken for the answer to the next command.
            protocol.transport.abortConnection()
            raise Unavailable("redis", f"no answer to {words[0]!s} within {REPLY_SECONDS:g} s") from trouble
        except CancelledError:
            raise
        except Exception as trouble:
            raise Unavailable("redis", f"{words[0]!s}: {shown(str(trouble))}") from trouble


class _Connections(Factory):
    """Builds one protocol of txredisapi, without its factory's habits; `made` is that one."""

    noisy = False
    made: Any = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        from txredisapi import RedisProtocol

        self.made = RedisProtocol(charset=None, convertNumbers=False)
        self.made.factory = self
        return self.made


def _stopped(failure: Failure) -> None:
    failure.trap(CancelledError, ConnectingCancelledError)


def _host(server: RedisServer) -> str | None:
    """Return the host whose certificate is checked, None without TLS; InvalidInput when that cannot be."""
    try:
        where = parse(server.addr)
    except ValueError as wrong:
        raise InvalidInput("redis.addr", str(wrong)) from wrong
    if not server.tls:
        return None
    if not isinstance(where, HostPort):
        raise InvalidInput("redis.tls", "expected false for a unix socket")
    return where.host
