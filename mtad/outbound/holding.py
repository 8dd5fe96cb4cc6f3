"""Holding: which mail people keep back, as far as this process knows, which is within a second (DESIGN §5).

They are read every second, for the table is small, and at once when there is news of a change: news comes late while
the connection that listens is not there, and a hold must not. A node that could not read them when it last tried
claims nothing and begins nothing. It also ends holds whose expiry has come, and frees the rows of those that are over:
each node does, so that what somebody released is freed whoever dies over it.
"""

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mtad.interfaces import IHolds, IJournal, IWakeups, IWallClock
from mtad.model.errors import Unavailable
from mtad.model.hold import CHANNEL, Hold
from mtad.model.job import Job, Lane
from mtad.outbound.tasks import Tasks
from mtad.policy.holds import Holds

LOOK_SECONDS = 1.0
READ_SECONDS = 3.0
"""How long a read may take before it counts as failed: a connection may have fallen silent."""
FREE_SECONDS = 5.0


class Holding(Service):
    """The holds that stand. Wall time says whether one expired."""

    name = "holding"

    def __init__(
        self, *, holds: IHolds, wakeups: IWakeups, clock: IReactorTime, wall: IWallClock, journal: IJournal
    ) -> None:
        self._port = holds
        self._clock = clock
        self._wall = wall
        self._journal = journal
        self._tasks = Tasks(clock, journal)
        self._standing: tuple[Hold, ...] = ()
        self._holds = Holds()
        self._known = False
        self._reading = False
        self._again = False
        wakeups.listen(self._heard, self._lost)

    def startService(self) -> None:
        """Begin to look, and to free what is held no more."""
        super().startService()
        self._tasks.every(LOOK_SECONDS, self._look, "holds")
        self._tasks.every(FREE_SECONDS, self._free, "free held mail")

    def stopService(self) -> Deferred[None]:
        """Wait for what is under way."""
        super().stopService()
        return Deferred.fromCoroutine(self._tasks.stop())

    @property
    def known(self) -> bool:
        """Whether the holds were read when that was last tried; until then nothing may go."""
        return self._known

    def of(self, job: Job) -> Hold | None:
        """Return the hold that keeps a job back now, as far as is known; None when there is none."""
        return self._holds.of(job, self._wall.now())

    def closes(self, lane: Lane) -> bool:
        """Return whether nothing of a lane may be claimed now."""
        return not self._known or self._holds.closes(lane, self._wall.now())

    def _heard(self, channel: str, _: str) -> None:
        if channel == CHANNEL:
            self._lost()

    def _lost(self) -> None:
        if self.running:
            self._tasks.start(self._look(), "holds")

    async def _look(self) -> None:
        """Read the holds, and once more when that was asked for meanwhile; never twice at once."""
        self._again = True
        if self._reading:
            return
        self._reading = True
        try:
            while self._again:
                self._again = False
                self._take(await self._read())
        except Exception:
            self._known = False
            raise
        finally:
            self._reading = False

    def _take(self, standing: tuple[Hold, ...]) -> None:
        """Act on these holds from now on."""
        self._known = True
        if standing != self._standing:
            self._standing, self._holds = standing, Holds(standing)
            self._journal.record("holds.changed", count=len(standing))

    async def _read(self) -> tuple[Hold, ...]:
        reading = Deferred.fromCoroutine(self._port.active())
        reading.addTimeout(READ_SECONDS, self._clock)
        try:
            return tuple(await reading)
        except defer.TimeoutError:
            raise Unavailable("postgres", f"the holds were not read within {READ_SECONDS:g} s") from None

    async def _free(self) -> None:
        await self._port.end_expired(self._wall.now())
        while self.running and (freed := await self._port.free(self._wall.now())):
            self._journal.record("queue.freed", count=freed)
