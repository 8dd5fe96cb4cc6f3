"""The writer: two connections that carry what waits, together, from the reactor and without a thread (DESIGN D6).

Whenever a connection is free it takes the next line's batch; the lines have their turns, so that none starves. When
a connection breaks, its batch goes again on a new one. Before that, and before anything else, the session that broke
is ended at the server, for what it was sent may be under way there still; and acceptances that were given up without
an answer are removed.

Which lines there are and what they write is `mtad.adapters.postgres.queue`'s.
"""

from collections import deque
from random import Random
from secrets import token_hex
from typing import Any, Protocol

from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGresult
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from mtad.adapters.postgres.libpq import Broken, LibpqConnection, Refused, Request
from mtad.adapters.postgres.lines import ItemT, Line
from mtad.adapters.postgres.recovery import Recovery
from mtad.adapters.postgres.resolve import addressed
from mtad.adapters.postgres.session import IReactor, Parameters, session_parameters
from mtad.adapters.postgres.statements import PREPARED
from mtad.interfaces import IDependency
from mtad.model.errors import NoAnswer, Unavailable

_log = Logger()

# All access is by index, and the statistics of a queue are never right: no plan may bet on a table being small.
_SETTINGS = " ".join((
    "-c plan_cache_mode=force_generic_plan",
    "-c enable_seqscan=off",
    "-c jit=off",
    "-c default_transaction_isolation=read\\ committed",
))  # fmt: skip
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_SILENCE_SECONDS = 5.0
# read_only_sql_transaction, admin_shutdown, crash_shutdown, cannot_connect_now: this server is the wrong one now.
_LEAVING = frozenset({"25006", "57P01", "57P02", "57P03"})


class Carried(Protocol):
    """What a connection may be asked to carry: a batch of a line, or the recovery."""

    def request(self) -> Request:
        """Return what to ask the server."""

    def done(self, results: list[PGresult]) -> None:
        """Take the server's answer."""

    def come_back(self, tried: bool) -> None:
        """Wait again; `tried` says that it is not known whether it was done."""

    def repeats(self, refusal: Refused) -> bool:
        """Return whether it is to be asked again after a refusal; when not, `refused` is told."""

    def refused(self, refusal: Refused) -> None:
        """Take a refusal that stands."""


@implementer(IDependency)
class Writer:
    """The connections, and the lines they serve in turn.

    `reactor` drives the sockets; `clock` measures pauses and silences, `random` spreads them.
    """

    def __init__(
        self,
        reactor: IReactor,
        parameters: Parameters,
        random: Random,
        *,
        connections: int = 2,
        clock: IReactorTime | None = None,
        name: str = "mtad writer",
        connect_timeout_seconds: float = 5.0,
        statement_timeout_seconds: float = 30.0,
    ) -> None:
        self.recovery = Recovery()
        self.clock: IReactorTime = reactor if clock is None else clock
        self._reactor = reactor
        self._random = random
        self._name = name
        self._parameters = parameters
        self._size = connections
        self._connect_timeout_seconds = connect_timeout_seconds
        self._statement_timeout_seconds = statement_timeout_seconds
        self._lines: deque[Line[Any]] = deque()
        self._connections: set[LibpqConnection] = set()
        self._idle: dict[LibpqConnection, Deferred[None]] = {}
        self._pausing: set[Deferred[None]] = set()
        self._serving: list[Deferred[None]] = []
        self._started: Deferred[None] = Deferred()
        self._trouble = "not connected yet"
        self._waking = False
        self._stopping = False
        self._over = False

    def carry(self, line: Line[Any]) -> None:
        """Serve a line from now on."""
        self._lines.append(line)

    def put(self, line: Line[ItemT], item: ItemT) -> None:
        """Let an item wait in its line; Unavailable when the writer stops."""
        if self._stopping:
            raise NoAnswer("postgres", "the connections are closed")
        line.put(item)
        self._wake()

    @property
    def reachable(self) -> bool:
        """Whether some connection stands, as far as is known."""
        return any(connection.open for connection in self._connections)

    async def start(self) -> None:
        """Begin to serve, and wait for the first connection; Unavailable when it fails, which a later one may not."""
        self._serving = [Deferred.fromCoroutine(self._serve()) for _ in range(self._size)]
        await self._started

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """Refuse new items, carry those that wait for as long as `grace_seconds`, fail the rest, and close."""
        self._stopping = True
        timer = self.clock.callLater(grace_seconds, self._end)
        self._wake()
        self._wake_pausing()
        await DeferredList(self._serving)
        if timer.active():
            timer.cancel()
        for line in self._lines:
            line.fail_all(NoAnswer("postgres", "the connections are closed"))
        if not self._started.called:
            self._started.errback(NoAnswer("postgres", "the connections are closed"))

    async def check(self) -> None:
        """Return when a connection stands (IDependency)."""
        if not self.reachable:
            raise Unavailable("postgres", self._trouble)

    async def _serve(self) -> None:
        """Keep one connection, through all troubles, until the end."""
        pause_seconds = _FIRST_PAUSE_SECONDS / 2
        while not self._done():
            connection = LibpqConnection(self._reactor, self.clock, self._new_name(), self._ended)
            try:
                await self._connect(connection)
                await self._work(connection)
            except (Broken, Refused, Unavailable) as trouble:
                self._note(str(trouble))
            except Exception as error:
                _log.failure("The writer met an error nobody expected")
                self._note(type(error).__name__)
            connection.close()
            self._connections.discard(connection)
            pause_seconds = (
                _FIRST_PAUSE_SECONDS if connection.useful else min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
            )
            if not self._done():
                await self._pause(pause_seconds)

    def _done(self) -> bool:
        return self._over or (self._stopping and not self._waits())

    def _waits(self) -> bool:
        """Whether there is anything to carry."""
        return self.recovery.due or not all(line.empty for line in self._lines)

    async def _connect(self, connection: LibpqConnection) -> None:
        """Connect and prepare; what waits may be served then."""
        parameters = session_parameters(self._parameters, connection.name, self._statement_timeout_seconds)
        parameters["options"] = f"{parameters['options']} {_SETTINGS}"
        conninfo = make_conninfo(**await addressed(self._reactor, parameters)).encode()
        self._connections.add(connection)
        await connection.connect(conninfo, PREPARED, self._connect_timeout_seconds)
        if not self._started.called:
            self._started.callback(None)

    async def _work(self, connection: LibpqConnection) -> None:
        """Carry batches as long as the connection stands."""
        while connection.open and not self._over:
            carried = self._next()
            if carried is not None:
                await self._carry(connection, carried)
            elif self._stopping:
                return
            else:
                idle: Deferred[None] = Deferred()
                self._idle[connection] = idle
                await idle

    def _next(self) -> Carried | None:
        """Return what is to be carried next; the recovery first, and nothing that writes while it is on its way."""
        if self.recovery.due:
            recovery = self.recovery.take()
            if recovery is not None:
                return recovery
        for _ in range(len(self._lines)):
            self._lines.rotate(-1)
            line = self._lines[-1]
            batch = None if line.writes and self.recovery.due else line.take()
            if batch is not None:
                return batch
        return None

    async def _carry(self, connection: LibpqConnection, carried: Carried) -> None:
        try:
            request = carried.request()
        except Exception as error:
            _log.failure("A request could not be written")
            # What is asked is at fault, as it would be if the server said so.
            carried.refused(Refused("22000", type(error).__name__))
            return
        try:
            results = await connection.ask(request, self._statement_timeout_seconds + _SILENCE_SECONDS)
        except Broken:
            self.recovery.sessions.add(connection.name)
            carried.come_back(tried=True)
            raise
        except Refused as refusal:
            await self._take_refusal(connection, carried, refusal)
        else:
            self._trouble = ""
            carried.done(results)
        if self._waits():
            self._wake()

    async def _take_refusal(self, connection: LibpqConnection, carried: Carried, refusal: Refused) -> None:
        if not carried.repeats(refusal):
            carried.refused(refusal)
            return
        carried.come_back(tried=False)
        self._note(str(refusal))
        if refusal.code in _LEAVING:
            connection.close(str(refusal))
        else:
            await self._pause(_FIRST_PAUSE_SECONDS)

    def _wake(self) -> None:
        """Let idle connections look for work, after the items of this reactor turn have gathered."""
        if self._idle and not self._waking:
            self._waking = True
            self._reactor.callLater(0, self._wake_idle)

    def _wake_idle(self) -> None:
        self._waking = False
        idle, self._idle = self._idle, {}
        for waiting in idle.values():
            waiting.callback(None)

    def _ended(self, connection: LibpqConnection, reason: str) -> None:
        """Hear that a connection is no more."""
        idle = self._idle.pop(connection, None)
        if not self.reachable:
            for line in self._lines:
                line.unreachable(Unavailable("postgres", reason))
        if idle is not None:
            idle.callback(None)
        self._wake()

    def _note(self, trouble: str) -> None:
        """Keep a trouble for `check`, and log it when it is news."""
        if trouble != self._trouble:
            _log.warn("PostgreSQL: {trouble}", trouble=trouble)
        self._trouble = trouble
        if not self._started.called:
            self._started.errback(Unavailable("postgres", trouble))

    async def _pause(self, seconds: float) -> None:
        """Wait for half to all of `seconds`, or for the end."""
        pause: Deferred[None] = Deferred()
        timer = self.clock.callLater(seconds * self._random.uniform(0.5, 1), pause.callback, None)
        self._pausing.add(pause)
        await pause
        self._pausing.discard(pause)
        if timer.active():
            timer.cancel()

    def _wake_pausing(self) -> None:
        pausing, self._pausing = self._pausing, set()
        for pause in pausing:
            pause.callback(None)

    def _new_name(self) -> str:
        """Return a session's name. No other writer may ever have it, so it is not left to `random`."""
        return f"{self._name} {token_hex(8)}"

    def _end(self) -> None:
        self._over = True
        for connection in list(self._connections):
            connection.close()
        self._wake_pausing()
