"""Connections kept for a while and used again, and a bound on how many one destination has.

A delivery takes a connection: one that is idle, else a new one while there is room, else it waits its turn. Given back,
a connection serves the delivery that waits longest, or stays idle for a while; one that served its share, or that the
server closed, is let go. Which server is behind an address, and what is said to it, is not this module's business.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mtad.model.outcome import Deferred
from mtad.outbound.session import ClientSession

MESSAGES_PER_CONNECTION = 100
IDLE_SECONDS = 10.0

Dial = Callable[[str], "defer.Deferred[ClientSession | Deferred]"]


@dataclass(slots=True)
class _Destination:
    """Connections of one address: how many there are, being dialled or open, those nobody uses, and who waits for one.

    Who waits is told None when there is something to take, or why there will be nothing.
    """

    count: int = 0
    dialling: int = 0
    idle: dict[ClientSession, IDelayedCall] = field(default_factory=dict)
    waiting: "deque[defer.Deferred[Deferred | None]]" = field(default_factory=deque)


class SessionPool:
    """Keeps at most `max_connections` sessions an address; `dial` opens one that is ready, or says why it cannot."""

    def __init__(self, dial: Dial, clock: IReactorTime, max_connections: int) -> None:
        self._dial = dial
        self._clock = clock
        self._max_connections = max_connections
        self._destinations: dict[str, _Destination] = {}
        self._closed = False

    async def take(self, addr: str) -> ClientSession | Deferred:
        """Return a session for one transaction, to be given back afterwards; or why there is none."""
        destination = self._destinations.setdefault(addr, _Destination())
        while not destination.idle and destination.count == self._max_connections:
            turn: defer.Deferred[Deferred | None] = defer.Deferred()
            destination.waiting.append(turn)
            if trouble := await turn:
                return trouble
        if destination.idle:
            # The latest used: the others get their chance to grow old.
            session, timer = destination.idle.popitem()
            timer.cancel()
            session.on_close = _nothing
            return session
        return await self._new(addr, destination)

    def give_back(self, addr: str, session: ClientSession) -> None:
        """Take a session back whose transaction is over, to keep it or to let it go."""
        destination = self._destinations[addr]
        if session.open and session.transactions_count < MESSAGES_PER_CONNECTION and not self._closed:
            destination.idle[session] = self._clock.callLater(IDLE_SECONDS, self._let_go, addr, session)
            session.on_close = lambda: self._forget(addr, session)
            self._next(destination)
        else:
            session.quit()
            self._free(addr, None)

    def close(self) -> None:
        """Let go of what is idle now, and of what is in use once it is given back."""
        self._closed = True
        for addr, destination in list(self._destinations.items()):
            for session in list(destination.idle):
                self._let_go(addr, session)

    async def _new(self, addr: str, destination: _Destination) -> ClientSession | Deferred:
        destination.count += 1
        destination.dialling += 1
        session: ClientSession | Deferred | None = None
        try:
            session = await self._dial(addr)
        finally:
            destination.dialling -= 1
            if not isinstance(session, ClientSession):
                self._free(addr, session)
        return session

    def _let_go(self, addr: str, session: ClientSession) -> None:
        self._forget(addr, session)
        session.quit()

    def _forget(self, addr: str, session: ClientSession) -> None:
        """Strike out a session that was idle."""
        session.on_close = _nothing
        timer = self._destinations[addr].idle.pop(session)
        if timer.active():
            timer.cancel()
        self._free(addr, None)

    def _free(self, addr: str, trouble: Deferred | None) -> None:
        """Make room for another connection; while none is open, trouble with one is everybody's who waits."""
        destination = self._destinations[addr]
        destination.count -= 1
        if trouble is None or destination.count > destination.dialling:
            self._next(destination)
        else:
            while destination.waiting:
                destination.waiting.popleft().callback(trouble)
        if not destination.count and not destination.waiting:
            self._destinations.pop(addr, None)

    def _next(self, destination: _Destination) -> None:
        if destination.waiting:
            destination.waiting.popleft().callback(None)


def _nothing() -> None:
    """Do nothing: the owner of a session in use hears of its end by the outcomes."""
