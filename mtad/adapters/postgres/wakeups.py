"""News from other processes: PostgreSQL's NOTIFY, heard on a connection of its own (IWakeups).

The rule: whoever listens is told `lost` whenever news may have gone by unheard, which is each time the connection
ends and each time it stands again, the first included. A connection that fell silent is found by asking now and
then. Nothing is promised about how soon news arrives; caches built on it have an age limit of their own.
"""

from collections.abc import Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from zope.interface import implementer

from mtad.adapters.postgres.pool import Cursor
from mtad.adapters.postgres.session import IReactor, Parameters, reason, session_parameters
from mtad.interfaces import IJournal, IWakeups
from mtad.model.control import CHANNEL
from mtad.model.errors import Unavailable
from mtad.model.hold import CHANNEL as HOLDS

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
_ASK_SECONDS = 20.0
_ANSWER_SECONDS = 10.0


@implementer(IWakeups)
class PostgresWakeups:
    """Listens on `channels` from `start` to `stop`."""

    def __init__(
        self,
        reactor: IReactor,
        parameters: Parameters,
        journal: IJournal,
        channels: Sequence[str] = ("mtad_directory", CHANNEL, HOLDS),
        *,
        name: str = "mtad wakeups",
        clock: IReactorTime | None = None,
    ) -> None:
        self._reactor = reactor
        self._clock: IReactorTime = reactor if clock is None else clock
        self._parameters = session_parameters(parameters, name, _ANSWER_SECONDS)
        self._journal = journal
        self._channels = tuple(channels)
        self._listeners: list[tuple[Callable[[str, str], None], Callable[[], None]]] = []
        self._active = False
        self._running: Deferred[None] | None = None

    def listen(self, heard: Callable[[str, str], None], lost: Callable[[], None]) -> None:
        """Call `heard` and `lost` as IWakeups promises."""
        self._listeners.append((heard, lost))

    def start(self) -> None:
        """Begin to listen, and go on whatever happens to the connection."""
        if not self._active:
            self._active = True
            self._running = Deferred.fromCoroutine(self._run())

    async def stop(self) -> None:
        """Hear no more."""
        self._active = False
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            try:
                await running
            except CancelledError:
                pass

    async def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while self._active:
            began_at = self._clock.seconds()
            try:
                await self._hear()
            except CancelledError:
                raise
            except Exception as error:
                why = error.reason if isinstance(error, Unavailable) else reason(error)
                self._journal.record("store.unavailable", dependency="postgres", reason=why)
            if self._clock.seconds() - began_at > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            if self._active:
                await deferLater(self._clock, pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _hear(self) -> None:
        """Listen on one connection until it ends; Unavailable when it does not even begin."""
        ended: Deferred[None] = Deferred()

        def end() -> None:
            if not ended.called:
                ended.callback(None)

        connection = Cursor(self._reactor, self._clock, _ANSWER_SECONDS, self._tell, end)
        asking = LoopingCall(lambda: Deferred.fromCoroutine(self._ask(connection)))
        asking.clock = self._clock
        try:
            await connection.open(self._parameters, _ANSWER_SECONDS)
            for channel in self._channels:
                await connection.execute(f"listen {channel}")
            self._tell_lost()
            # A listener may have called `stop`, which can cancel only what waits.
            if self._active:
                asking.start(_ASK_SECONDS, now=False)
                await ended
        finally:
            if asking.running:
                asking.stop()
            connection.close()
            self._tell_lost()

    async def _ask(self, connection: Cursor) -> None:
        """Close a connection that stands but does not answer."""
        try:
            await connection.query("select 1")
        except Unavailable:
            connection.close()

    def _tell(self, channel: str, payload: str) -> None:
        for heard, _ in self._listeners:
            try:
                heard(channel, payload)
            except Exception as error:
                self._journal.record("session.surprise", failure=f"{channel}: {error!r}")

    def _tell_lost(self) -> None:
        for _, lost in self._listeners:
            lost()
