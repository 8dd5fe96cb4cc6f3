"""Connections to PostgreSQL for everything but the writer: the one wrapper around txpostgres.

At most `size` connections are open; each is opened when it is first needed and dropped at the first sign of trouble,
so that the next caller after an outage simply opens a new one. Every wait is bounded: for a free connection, for
connecting, for each statement. After a failed connect the calls of the next second fail at once with its reason.

txpostgres' own pool keeps dead connections, and its `runInteraction` commits without running a coroutine (DESIGN
§8); neither is used. Nothing is ever repeated: what a broken connection did is for the caller to find out.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import psycopg2
import psycopg2.extensions
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from txpostgres import txpostgres
from zope.interface import implementer

from mtad.adapters.postgres.resolve import addressed
from mtad.adapters.postgres.session import IReactor, Parameters, session_parameters, unavailable
from mtad.interfaces import IDependency
from mtad.model.errors import Unavailable

T = TypeVar("T")
Values = Sequence[object]
Heard = Callable[[str, str], None]
"""Told of a notification: channel and payload."""

_CHECK_SECONDS = 5.0
_STOP_SECONDS = 5.0
# The server ends a statement at its timeout; one that does not even do that is gone.
_SILENCE_SECONDS = 5.0
_PAUSE_SECONDS = 1.0


class Statement(txpostgres.Cursor):  # type: ignore[misc]  # txpostgres has no types
    """A statement whose timeout is told as such; txpostgres would say that our side cancelled it."""

    def _handleCancellation(self, failure: Failure) -> Failure:
        return failure


class Connection(txpostgres.Connection):  # type: ignore[misc]  # txpostgres has no types
    """A connection that ends quietly when the server ends it, and tells news and its own end at once.

    txpostgres would log a traceback for a server that goes away while nothing is asked, and hand out notifications
    through the global cooperator.
    """

    cursorFactory = Statement

    def __init__(self, reactor: IReactor, heard: Heard, ended: Callable[[], None]) -> None:
        super().__init__(reactor)
        self._heard = heard
        self._ended = ended

    def doRead(self) -> None:
        """See whether the server said something; close at trouble."""
        try:
            super().doRead()
        except psycopg2.Error:
            self.close()

    def connectionLost(self, reason: Failure) -> None:
        """Close, unless a connection attempt still has other hosts to try."""
        super().connectionLost(reason)
        if self._pollingD is None and not self.pollable().closed:
            self.close()

    def close(self) -> None:
        """End the connection; what waits on it fails."""
        super().close()
        self._ended()

    def checkForNotifies(self) -> None:
        """Hand out what was notified, in order."""
        notifies = self.pollable().notifies
        while notifies:
            notify = notifies.pop(0)
            self._heard(notify.channel, notify.payload)


class Cursor:
    """One connection, lent to one caller at a time.

    A statement that is cancelled, or not answered within `timeout_seconds`, closes the connection: whether it was
    done is not known. Each borrower may set that anew.
    """

    def __init__(
        self,
        reactor: IReactor,
        clock: IReactorTime,
        timeout_seconds: float,
        heard: Heard = lambda channel, payload: None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self.timeout_seconds = timeout_seconds
        self._connection = Connection(reactor, heard, ended)

    @property
    def closed(self) -> bool:
        """Whether the connection ended."""
        return bool(self._connection.pollable() is None or self._connection.closed)

    @property
    def clean(self) -> bool:
        """Whether the connection stands and is in no transaction."""
        idle = psycopg2.extensions.TRANSACTION_STATUS_IDLE
        return not self.closed and bool(self._connection.get_transaction_status() == idle)

    async def open(self, parameters: Parameters, timeout_seconds: float) -> None:
        """Connect; Unavailable when that fails, or its look-up or itself takes longer."""
        found = Deferred.fromCoroutine(addressed(self._reactor, parameters))
        try:
            reachable = await found.addTimeout(timeout_seconds, self._clock)
        except defer.TimeoutError as error:
            raise Unavailable("postgres", f"no address of its host within {timeout_seconds:g} s") from error
        await self._answer(lambda: self._connection.connect(**reachable), timeout_seconds)

    async def query(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Run one statement with `%s` for each of `values` and return its rows."""
        statement = await self._run(sql, values)
        return statement.fetchall() if statement.description else []

    async def execute(self, sql: str, values: Values = ()) -> int:
        """Run one statement and return how many rows it concerned."""
        return int((await self._run(sql, values)).rowcount)

    def close(self) -> None:
        """End the connection; what waits on it fails."""
        if self._connection.pollable() is not None:
            self._connection.close()

    async def _run(self, sql: str, values: Values) -> Any:
        return await self._answer(
            lambda: self._connection.cursor().execute(sql, tuple(values) or None), self.timeout_seconds
        )

    async def _answer(self, ask: Callable[[], "Deferred[Any]"], timeout_seconds: float) -> Any:
        """Return the result of what `ask` starts; close the connection when that takes too long or is cancelled."""

        def abandon(why: BaseException) -> None:
            answered.errback(why)
            self.close()

        def settle(result: Any) -> None:
            if not answered.called:
                answered.callback(result)

        answered: Deferred[Any] = Deferred(lambda _: abandon(CancelledError()))
        silence = Unavailable("postgres", f"no answer within {timeout_seconds:g} s")
        timer = self._clock.callLater(timeout_seconds, abandon, silence)
        try:
            ask().addBoth(settle)
            return await answered
        except Exception as error:
            trouble = unavailable(error)
            if trouble is None:
                raise
            raise trouble from error
        finally:
            if timer.active():
                timer.cancel()


@implementer(IDependency)
class Pool:
    """Statements and transactions on whichever connection is free."""

    def __init__(
        self,
        reactor: IReactor,
        parameters: Parameters,
        size: int,
        *,
        name: str = "mtad",
        clock: IReactorTime | None = None,
        connect_timeout_seconds: float = 5.0,
        statement_timeout_seconds: float = 30.0,
        wait_timeout_seconds: float = 10.0,
    ) -> None:
        self._reactor = reactor
        self._clock: IReactorTime = reactor if clock is None else clock
        self._parameters = session_parameters(parameters, name, statement_timeout_seconds)
        self._size = size
        self._connect_timeout_seconds = connect_timeout_seconds
        self._statement_timeout_seconds = statement_timeout_seconds
        self._wait_timeout_seconds = wait_timeout_seconds
        self._turns = DeferredSemaphore(size)
        self._idle: list[Cursor] = []
        self._lent: set[Cursor] = set()
        self._pause: tuple[float, str] = (0.0, "")
        self._running = False

    async def start(self) -> None:
        """Begin to serve, and see that the database answers; Unavailable when it does not, which a later call may."""
        self._running = True
        await self.check()

    async def stop(self) -> None:
        """Refuse new calls, give those under way a moment to end, and close all connections."""
        self._running = False
        ended = 0
        try:
            while ended < self._size:
                await self._turns.acquire().addTimeout(_STOP_SECONDS, self._clock)
                ended += 1
        except defer.TimeoutError:
            for cursor in list(self._lent):
                cursor.close()
        for _ in range(ended):
            self._turns.release()
        while self._idle:
            self._idle.pop().close()

    async def query(
        self, sql: str, params: Values = (), *, timeout_seconds: float | None = None
    ) -> list[tuple[Any, ...]]:
        """Run one statement in a transaction of its own, `%s` for each of `params`; return its rows.

        When it has no answer within `timeout_seconds`, if less than the pool's, its connection is dropped. Raises
        Unavailable when the server or a free connection cannot be had; psycopg2's error when the statement or its data
        is at fault.
        """
        cursor = await self._take(timeout_seconds)
        try:
            return await cursor.query(sql, params)
        finally:
            self._give_back(cursor)

    async def interact(self, work: Callable[[Cursor], Awaitable[T]], *, timeout_seconds: float | None = None) -> T:
        """Await `work(cursor)` in one transaction: committed when it returns, rolled back when it raises.

        `timeout_seconds`, as in `query`, is for each statement. Raises as `query` does. Unavailable from the commit
        leaves open whether it happened.
        """
        cursor = await self._take(timeout_seconds)
        try:
            await cursor.execute("begin")
            result = await work(cursor)
            await cursor.execute("commit")
        except Exception:
            await self._roll_back(cursor)
            raise
        else:
            return result
        finally:
            self._give_back(cursor)

    async def check(self) -> None:
        """Ask the database for a sign of life (IDependency)."""
        answer = Deferred.fromCoroutine(self.query("select 1"))
        try:
            await answer.addTimeout(_CHECK_SECONDS, self._clock)
        except defer.TimeoutError as error:
            raise Unavailable("postgres", f"no answer within {_CHECK_SECONDS:g} s") from error

    async def _take(self, timeout_seconds: float | None) -> Cursor:
        if not self._running:
            raise Unavailable("postgres", "the connections are closed")
        try:
            await self._turns.acquire().addTimeout(self._wait_timeout_seconds, self._clock)
        except defer.TimeoutError as error:
            what = f"none of {self._size} connections became free within {self._wait_timeout_seconds:g} s"
            raise Unavailable("postgres", what) from error
        try:
            cursor = self._idle_cursor() or await self._new_cursor()
        except BaseException:
            self._turns.release()
            raise
        longest_seconds = self._statement_timeout_seconds + _SILENCE_SECONDS
        cursor.timeout_seconds = longest_seconds if timeout_seconds is None else min(timeout_seconds, longest_seconds)
        self._lent.add(cursor)
        return cursor

    def _idle_cursor(self) -> Cursor | None:
        while self._idle:
            cursor = self._idle.pop()
            if not cursor.closed:
                return cursor
        return None

    async def _new_cursor(self) -> Cursor:
        until, why = self._pause
        if self._clock.seconds() < until:
            raise Unavailable("postgres", why)
        cursor = Cursor(self._reactor, self._clock, self._statement_timeout_seconds + _SILENCE_SECONDS)
        try:
            await cursor.open(self._parameters, self._connect_timeout_seconds)
        except Unavailable as error:
            cursor.close()
            self._pause = (self._clock.seconds() + _PAUSE_SECONDS, error.reason)
            raise
        return cursor

    def _give_back(self, cursor: Cursor) -> None:
        self._lent.discard(cursor)
        if cursor.clean:
            self._idle.append(cursor)
        else:
            cursor.close()
        self._turns.release()

    async def _roll_back(self, cursor: Cursor) -> None:
        """End a failed transaction; a connection that cannot even do that is not given back."""
        if cursor.closed:
            return
        try:
            await cursor.execute("rollback")
        except (Unavailable, psycopg2.Error):
            cursor.close()
