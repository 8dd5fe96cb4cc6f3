"""A connection to PostgreSQL that the reactor drives through libpq: prepared statements, binary, never blocking.

libpq's pipeline mode carries a request: its statements go out together and, up to the sync that ends them, are one
transaction, rolled back as a whole at the first error (PostgreSQL manual, "Pipeline Mode"). One request is under way
at a time; who wants more waits for the answer. What is too large to be in memory as a whole is a request that is an
iterator: its statements go out one by one, a turn of the reactor each.

A connection is used once: when it breaks, is silent for too long or is closed, it is thrown away. What it was asked
may then have been done or not, and may even yet be; `mtad.adapters.postgres.writer` sees to that.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGconn, PGresult
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.adapters.postgres.session import IReactor
from mtad.model.text import shown

_DATA_CLASSES = frozenset({"22", "23", "54"})
_DISK_FULL = "53100"
_TROUBLE_CLASSES = frozenset({"08", "25", "40", "53", "55", "57", "58"})


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement to be prepared under a name; parameters are `$1` and so on, with their types written out."""

    name: str
    sql: str


Step = tuple[Statement, Sequence[bytes | None]]
"""A statement with its parameters."""

Request = Sequence[Step] | Iterator[Step]
"""What is done in order in one transaction.

From an iterator the next step is taken when the one before it has left. One that raises Broken ends the connection.
"""


class Broken(Exception):
    """The connection is gone; what was under way may have been done or not."""


class Refused(Exception):
    """The server refused a request, and did none of it. `code` is its SQLSTATE."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code

    @property
    def for_its_data(self) -> bool:
        """Whether the values are at fault: impossible, against a constraint, or too long for an index."""
        return self.code[:2] in _DATA_CLASSES

    @property
    def for_want_of_room(self) -> bool:
        """Whether the server's disk is full, which may last."""
        return self.code == _DISK_FULL

    @property
    def for_now(self) -> bool:
        """Whether the same may be accepted later: the server's state is at fault, or chance."""
        return self.code[:2] in _TROUBLE_CLASSES


@implementer(IReadWriteDescriptor)
class _Socket:
    """What the reactor watches: a duplicate of libpq's socket.

    libpq closes its own without warning, when a connection breaks or it tries another address, and a reactor must
    forget a descriptor before that.
    """

    def __init__(self, number: int, connection: "LibpqConnection") -> None:
        self._number = os.dup(number)
        self._connection = connection

    def close(self) -> None:
        """Close the duplicate; the reactor must have forgotten it."""
        os.close(self._number)

    def fileno(self) -> int:
        """Return the duplicate's number."""
        return self._number

    def doRead(self) -> None:
        """Called when there is something to read."""
        self._connection.readable()

    def doWrite(self) -> None:
        """Called when there is room to write."""
        self._connection.writable()

    def connectionLost(self, reason: Failure) -> None:
        """Called when the reactor gives the socket up."""
        self._connection.close(reason.getErrorMessage())

    def logPrefix(self) -> str:
        """Return how the log calls this."""
        return "libpq"


class LibpqConnection:
    """One connection. `name` is its application_name, by which the server knows it; `ended` is called once.

    `useful` says whether it ever did what it was asked.
    """

    def __init__(self, reactor: IReactor, clock: IReactorTime, name: str, ended: "Ended") -> None:
        self.name = name
        self.useful = False
        self._reactor = reactor
        self._clock = clock
        self._ended = ended
        self._pgconn: PGconn | None = None
        self._socket: _Socket | None = None
        self._connected = False
        self._answer: Deferred[list[PGresult]] | None = None
        self._timer: IDelayedCall | None = None
        self._timeout_seconds = 0.0
        self._unsent: Iterator[Step] | None = None
        self._results: list[PGresult] = []
        self._refusal: Refused | None = None

    @property
    def open(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._connected

    async def connect(self, conninfo: bytes, statements: Sequence[Statement], timeout_seconds: float) -> None:
        """Connect and prepare `statements`, each within the time given; Broken or Refused when that fails."""
        connected = self._expect(timeout_seconds)
        self._pgconn = pgconn = pq.PGconn.connect_start(conninfo)
        if pgconn.status == pq.ConnStatus.BAD:
            self.close(_line(pgconn.error_message))
        else:
            # As if connect_poll had said so before it was ever called (libpq manual, PQconnectStartParams).
            self._watch(pq.PollingStatus.WRITING)
        await connected

        def prepare() -> None:
            for statement in statements:
                pgconn.send_prepare(statement.name.encode(), statement.sql.encode())

        await self._send(prepare, timeout_seconds)

    async def ask(self, request: Request, timeout_seconds: float) -> list[PGresult]:
        """Return a result for each statement of the request.

        Raises Refused when the server did none of it; Broken when the connection ended or was silent for too long,
        and is no more.
        """
        pgconn = self._pgconn
        if pgconn is None or not self._connected:
            raise Broken("the connection is closed")

        def execute() -> None:
            for step in request:
                _say(pgconn, step)

        if isinstance(request, Iterator):
            answer = self._expect(timeout_seconds)
            self._unsent = request
            self.writable()
        else:
            answer = self._send(execute, timeout_seconds)
        results = await answer
        self.useful = True
        return results

    def close(self, reason: str = "closed") -> None:
        """End the connection; a request under way fails with Broken."""
        pgconn, self._pgconn = self._pgconn, None
        if pgconn is None:
            return
        self._connected = False
        self._unwatch()
        pgconn.finish()
        self._finish(Broken(shown(reason)))
        self._ended(self, shown(reason))

    def readable(self) -> None:
        """Take what the server sent."""
        if not self._connected:
            self._poll()
            return
        pgconn = self._pgconn
        assert pgconn is not None
        try:
            pgconn.consume_input()
            self._collect(pgconn)
        except psycopg.Error as error:
            self.close(_line(str(error)))

    def writable(self) -> None:
        """Send what is left to send."""
        if self._pgconn is None:
            # It ended when it was read, a moment ago; the reactor had found both to be possible.
            return
        if not self._connected:
            self._poll()
            return
        try:
            if self._flush() and self._unsent is not None:
                self._send_on(self._unsent)
        except (psycopg.Error, Broken) as error:
            self.close(_line(str(error)))

    def _poll(self) -> None:
        """Go on connecting."""
        assert self._pgconn is not None
        self._unwatch()
        state = self._pgconn.connect_poll()
        if state == pq.PollingStatus.FAILED:
            self.close(_line(self._pgconn.error_message))
        elif state == pq.PollingStatus.OK:
            self._pgconn.nonblocking = 1
            self._pgconn.enter_pipeline_mode()
            self._connected = True
            self._watch(pq.PollingStatus.READING)
            self._finish(None)
        else:
            self._watch(state)

    def _watch(self, state: int) -> None:
        assert self._pgconn is not None
        self._socket = _Socket(self._pgconn.socket, self)
        if state == pq.PollingStatus.READING:
            self._reactor.addReader(self._socket)
        else:
            self._reactor.addWriter(self._socket)

    def _unwatch(self) -> None:
        """Let the reactor forget the socket."""
        if self._socket is not None:
            self._reactor.removeReader(self._socket)
            self._reactor.removeWriter(self._socket)
            self._socket.close()
            self._socket = None

    def _send(self, say: Callable[[], None], timeout_seconds: float) -> "Deferred[list[PGresult]]":
        """Send what `say` says, and a sync; the answer comes with its end."""
        answer = self._expect(timeout_seconds)
        assert self._pgconn is not None
        try:
            say()
            self._pgconn.pipeline_sync()
            self._flush()
        except psycopg.Error as error:
            self.close(_line(str(error)))
        return answer

    def _send_on(self, unsent: Iterator[Step]) -> None:
        """Send the next step, or the sync behind the last one; the server has its time for each."""
        assert self._pgconn is not None
        assert self._timer is not None
        self._timer.reset(self._timeout_seconds)
        step = next(unsent, None)
        if step is not None:
            _say(self._pgconn, step)
        else:
            self._unsent = None
            self._pgconn.pipeline_sync()
        self._flush()

    def _flush(self) -> bool:
        """Write what the socket takes, and whether that is all; be called again while there is more to send."""
        assert self._pgconn is not None
        assert self._socket is not None
        left = bool(self._pgconn.flush())
        if left or self._unsent is not None:
            self._reactor.addWriter(self._socket)
        else:
            self._reactor.removeWriter(self._socket)
        return not left

    def _collect(self, pgconn: PGconn) -> None:
        """Gather results up to the sync that ends the request, as far as they are there."""
        nothing = False
        while self._answer is not None and not pgconn.is_busy():
            result = pgconn.get_result()
            if pgconn.status == pq.ConnStatus.BAD:
                self.close(_line(pgconn.error_message))
            elif result is None:
                # One follows each statement's results; another one, that all which was sent is answered.
                if nothing:
                    return
                nothing = True
            else:
                nothing = False
                self._take(result)

    def _take(self, result: PGresult) -> None:
        match result.status:
            case pq.ExecStatus.PIPELINE_ABORTED:
                pass
            case pq.ExecStatus.PIPELINE_SYNC:
                self._finish(self._refusal)
            case pq.ExecStatus.FATAL_ERROR:
                code = result.error_field(pq.DiagnosticField.SQLSTATE) or b"XX000"
                self._refusal = self._refusal or Refused(code.decode(), _line(result.error_message))
                if self._unsent is not None:
                    # The server passes over all up to the sync, so it may come now.
                    self._unsent = iter(())
            case _:
                self._results.append(result)

    def _expect(self, timeout_seconds: float) -> "Deferred[list[PGresult]]":
        assert self._answer is None, "a request is under way"
        self._results, self._refusal = [], None
        self._timeout_seconds = timeout_seconds
        answer: Deferred[list[PGresult]] = Deferred()
        self._answer = answer
        self._timer = self._clock.callLater(timeout_seconds, self.close, f"no answer within {timeout_seconds:g} s")
        return answer

    def _finish(self, trouble: Exception | None) -> None:
        """Answer who waits, if somebody does."""
        answer, self._answer = self._answer, None
        self._unsent = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if answer is None:
            return
        if trouble is None:
            answer.callback(self._results)
        else:
            answer.errback(trouble)


def _say(pgconn: PGconn, step: Step) -> None:
    statement, parameters = step
    formats = [pq.Format.BINARY] * len(parameters)
    pgconn.send_query_prepared(statement.name.encode(), parameters, formats, pq.Format.BINARY)


def _line(text: bytes | str) -> str:
    """Return what libpq or the server said, on one line and fit to be shown; it may quote a peer."""
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return shown(" ".join(decoded.split()))


Ended = Callable[[LibpqConnection, str], None]
"""Called with a connection that is no more, and why."""
