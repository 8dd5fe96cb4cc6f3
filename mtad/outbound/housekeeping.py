"""Housekeeping: removes what crashes left behind and what nobody released, keeps the timeline's partitions.

It also tells how long the queue is.
"""

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mtad.interfaces import IJournal, IQueueCare, ITimeline, IWallClock
from mtad.model.errors import Unavailable
from mtad.model.text import shown
from mtad.outbound.tasks import Tasks

SWEEP_SECONDS = 600.0
SWEEP_AGE_SECONDS = 3600.0
TIMELINE_SECONDS = 3600.0
SIZES_SECONDS = 30.0
SIZES_REST = 500
"""After a count of the queue there is none for so many times as long as it took: of a million rows that is a minute."""
QUARANTINE_SECONDS = 600.0
BY_AGE = "queue.quarantine_keep"
"""What the story of a message names when it was quarantined for too long."""


class Housekeeping(Service):
    """Every process does it; each round is harmless beside another's.

    `keep_seconds` is how long the timeline is kept, `quarantine_keep_seconds` what is quarantined. The queue is counted
    only where `counts`: one process of a server is enough, and all rows have to be looked at.
    """

    name = "housekeeping"

    def __init__(
        self,
        *,
        care: IQueueCare,
        timeline: ITimeline,
        clock: IReactorTime,
        wall: IWallClock,
        journal: IJournal,
        keep_seconds: float,
        quarantine_keep_seconds: float,
        counts: bool,
    ) -> None:
        self._care = care
        self._timeline = timeline
        self._wall = wall
        self._journal = journal
        self._keep_seconds = keep_seconds
        self._quarantine_keep_seconds = quarantine_keep_seconds
        self._counts = counts
        self._count_from = 0.0
        self._clock = clock
        self._tasks = Tasks(clock, journal)

    async def prepare(self) -> None:
        """Have today's partitions before the first event: rows in the default one would keep them from being made."""
        try:
            await self._keep_timeline()
        except Unavailable as trouble:
            self._journal.record("store.unavailable", dependency=trouble.dependency, reason=shown(trouble.reason))

    def startService(self) -> None:
        """Begin the rounds."""
        super().startService()
        self._tasks.every(TIMELINE_SECONDS, self._keep_timeline, "timeline")
        if self._counts:
            self._tasks.every(SIZES_SECONDS, self._tell_sizes, "queue sizes")
        self._tasks.every(SWEEP_SECONDS, self._sweep, "sweep")
        self._tasks.every(QUARANTINE_SECONDS, self._end_quarantine, "quarantine")

    def stopService(self) -> Deferred[None]:
        """Wait for the round under way."""
        return Deferred.fromCoroutine(self._tasks.stop())

    async def _keep_timeline(self) -> None:
        await self._timeline.maintain(self._wall.now(), self._keep_seconds)

    async def _sweep(self) -> None:
        removed = await self._care.sweep(self._wall.now() - SWEEP_AGE_SECONDS)
        if removed:
            self._journal.record("queue.swept", count=removed)

    async def _end_quarantine(self) -> None:
        now = self._wall.now()
        removed = await self._care.expire_quarantined(now - self._quarantine_keep_seconds, now, BY_AGE)
        if removed:
            self._journal.record("queue.quarantine_expired", count=removed)

    async def _tell_sizes(self) -> None:
        began = self._clock.seconds()
        if began < self._count_from:
            return
        sizes = await self._care.sizes()
        ended = self._clock.seconds()
        self._count_from = ended + SIZES_REST * (ended - began)
        self._journal.record("queue.sizes", **{status.value: count for status, count in sizes.items()})
