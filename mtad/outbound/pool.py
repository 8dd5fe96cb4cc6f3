"""Connections kept for a while and used again, and a bound on how many one destination has.

A delivery takes a connection: one that is idle, else a new one while there is room, else it waits its turn, for some
time. Given back, a connection serves the delivery that waits longest, or stays idle for a while; one that served its
share, or that the server closed, is let go. What is said to a next hop is not this module's business.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mtad.model.next_hop import NextHop
from mtad.model.outcome import Deferred, Scope
from mtad.outbound.session import ClientSession

IDLE_SECONDS = 10.0

Dial = Callable[[NextHop], "defer.Deferred[ClientSession | Deferred]"]


@dataclass(slots=True)
class _Destination:
    """Connections of one next hop: how many there are, being dialled or open, those nobody uses, and who waits for one.

    Who waits is told None when there is something to take, or why there will be nothing.
    """

    count: int = 0
    dialling: int = 0
    idle: dict[ClientSession, IDelayedCall] = field(default_factory=dict)
    waiting: "deque[defer.Deferred[Deferred | None]]" = field(default_factory=deque)


class SessionPool:
    """Keeps at most `max_connections` sessions a next hop; `dial` opens one that is ready, or says why it cannot.

    A session is let go of after `max_messages`, or after as many as its server takes on a connection (RFC 9422).
    """

    def __init__(self, dial: Dial, clock: IReactorTime, max_connections: int, max_messages: int) -> None:
        self._dial = dial
        self._clock = clock
        self._max_connections = max_connections
        self._max_messages = max_messages
        self._destinations: dict[NextHop, _Destination] = {}
        self._closed = False

    async def take(self, hop: NextHop, patience_seconds: float) -> ClientSession | Deferred:
        """Return a session for one transaction, to be given back afterwards; or why there is none.

        It waits for others to give theirs back no longer than `patience_seconds`; opening one has limits of its own.
        """
        ends_at = self._clock.seconds() + patience_seconds
        destination = self._destinations.get(hop)
        if destination is None:
            destination = self._destinations[hop] = _Destination()
        while not destination.idle and destination.count == self._max_connections:
            if trouble := await self._turn(destination, ends_at):
                return trouble
        if destination.idle:
            # The latest used: the others get their chance to grow old.
            session, timer = destination.idle.popitem()
            timer.cancel()
            session.on_close = _nothing
            return session
        return await self._new(hop, destination)

    def give_back(self, hop: NextHop, session: ClientSession) -> None:
        """Take a session back whose transaction is over, to keep it or to let it go."""
        destination = self._destinations[hop]
        most = min(self._max_messages, session.limits.messages or self._max_messages)
        if session.open and session.transactions_count < most and not self._closed:
            destination.idle[session] = self._clock.callLater(IDLE_SECONDS, self._let_go, hop, session)
            session.on_close = lambda: self._forget(hop, session)
            self._next(destination)
        else:
            session.quit()
            self._free(hop, None)

    def dismiss(self, trouble: Deferred) -> None:
        """Let all who wait for others' connections wait no more."""
        for destination in list(self._destinations.values()):
            while destination.waiting:
                destination.waiting.popleft().callback(trouble)

    def close(self) -> None:
        """Let go of what is idle now, and of what is in use once it is given back."""
        self._closed = True
        for hop, destination in list(self._destinations.items()):
            for session in list(destination.idle):
                self._let_go(hop, session)

    async def _turn(self, destination: _Destination, ends_at: float) -> Deferred | None:
        """Wait until there may be something to take; return why there will be nothing, or nothing in time."""
        turn: defer.Deferred[Deferred | None] = defer.Deferred()
        destination.waiting.append(turn)
        late = Deferred("all connections to this server are in use", Scope.HOST, "4.4.5")
        timer = self._clock.callLater(max(0.0, ends_at - self._clock.seconds()), turn.callback, late)
        try:
            return await turn
        finally:
            if timer.active():
                timer.cancel()
            if turn in destination.waiting:
                destination.waiting.remove(turn)

    async def _new(self, hop: NextHop, destination: _Destination) -> ClientSession | Deferred:
        destination.count += 1
        destination.dialling += 1
        session: ClientSession | Deferred | None = None
        try:
            session = await self._dial(hop)
        finally:
            destination.dialling -= 1
            if not isinstance(session, ClientSession):
                self._free(hop, session)
        return session

    def _let_go(self, hop: NextHop, session: ClientSession) -> None:
        self._forget(hop, session)
        session.quit()

    def _forget(self, hop: NextHop, session: ClientSession) -> None:
        """Strike out a session that was idle."""
        session.on_close = _nothing
        timer = self._destinations[hop].idle.pop(session)
        if timer.active():
            timer.cancel()
        self._free(hop, None)

    def _free(self, hop: NextHop, trouble: Deferred | None) -> None:
        """Make room for another connection; while none is open, trouble with one is everybody's who waits."""
        destination = self._destinations[hop]
        destination.count -= 1
        if trouble is None or destination.count > destination.dialling:
            self._next(destination)
        else:
            while destination.waiting:
                destination.waiting.popleft().callback(trouble)
        if not destination.count and not destination.waiting:
            self._destinations.pop(hop, None)

    def _next(self, destination: _Destination) -> None:
        if destination.waiting:
            destination.waiting.popleft().callback(None)


def _nothing() -> None:
    """Do nothing: the owner of a session in use hears of its end by the outcomes."""
