"""The worker: begins jobs whose turn it is as room allows, and has settled what they came to.

Jobs come from two sides: handed over at acceptance with their content, and claimed from the database
(`mtad.outbound.claiming`); in memory all compete by the same rule (`mtad.outbound.lanes`). A job that is not begun
within 5 s, or was handed over with a content that would exceed the budget (`mtad.outbound.books`), is given back in a
batch; somebody with room will claim it (DESIGN D7). Nothing is begun without a good lease, and what was begun is sent
under that lease alone (D8). A report of failure is written with the settlement it belongs to
(`mtad.outbound.settler`), and claimed like anything that waits.
"""

import math
from collections.abc import Callable, Iterable, Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from mtad.interfaces import IJournal, IQueue, IWallClock
from mtad.model import outcome as outcomes
from mtad.model.content import Content
from mtad.model.errors import LeaseLost, Unavailable
from mtad.model.event import Fact
from mtad.model.job import Disposal, Job, Lane, Row, Settlement
from mtad.model.outcome import Outcome, Scope
from mtad.model.text import shown
from mtad.outbound.books import Books, Room
from mtad.outbound.claiming import Claiming
from mtad.outbound.delivery import DeliveryService
from mtad.outbound.holding import Holding
from mtad.outbound.lanes import Lanes, lane_of
from mtad.outbound.lease import Lease
from mtad.outbound.membership import Membership
from mtad.outbound.settlement import MISSING, Schedule, hold, keep_back, settle
from mtad.outbound.settler import Settler
from mtad.outbound.tasks import Tasks, in_time

CLAIM_SECONDS = 1.0
BEGIN_WITHIN_SECONDS = 5.0
CLAIMED_SHARE = 10
"""A trip to the database before the next round is worth it for so great a part of the slots."""
PATIENCE_SECONDS = 16.0
LAST_SECONDS = 4.0
"""How long a stop waits, once it cut off what was not done in time, for that to be written."""


class Worker(Service):
    """Delivers what this process owns."""

    name = "worker"

    def __init__(
        self,
        *,
        queue: IQueue,
        delivery: DeliveryService,
        settler: Settler,
        holds: Holding,
        membership: Membership,
        clock: IReactorTime,
        wall: IWallClock,
        journal: IJournal,
        chance: Callable[[], float],
        schedule: Schedule,
        room: Room,
        books: Books,
    ) -> None:
        self._queue = queue
        self._delivery = delivery
        self._settler = settler
        self._holds = holds
        self._membership = membership
        self._clock = clock
        self._wall = wall
        self._journal = journal
        self._chance = chance
        self._schedule = schedule
        self._room = room
        self._lanes = Lanes(room.jobs)
        self._books = books
        self._to_release: list[Job] = []
        self._claiming = Claiming(
            queue=queue,
            lanes=self._lanes,
            wall=wall,
            journal=journal,
            lease=membership.lease,
            may=lambda: membership.good and self._takes,
            closed=holds.closes,
            took=self._take_claimed,
        )
        self._pump_to_come: IDelayedCall | None = None
        self._tasks = Tasks(clock, journal)
        self._deliveries = Tasks(clock, journal)
        self._stopping = False
        self._draining = False

    def startService(self) -> None:
        """Begin to claim."""
        super().startService()
        self._stopping = False
        self._tasks.every(CLAIM_SECONDS, self._round, "claim")

    def stopService(self) -> Deferred[None]:
        """Begin nothing more; finish what is in hand within the patience, and cut off what is not.

        The rest is free when the node leaves, which is next.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        ends_at = self._clock.seconds() + PATIENCE_SECONDS
        await in_time(Deferred.fromCoroutine(self._tasks.stop()), PATIENCE_SECONDS, self._clock)
        await self._idle_within(ends_at - self._clock.seconds())
        # What a server was told whole may have been taken: its story must say so before it is sent again.
        self._delivery.abort(stopping=True)
        await self._idle_within(LAST_SECONDS)
        self._settler.abandon()

    def drain(self, on: bool) -> None:
        """Begin nothing more and give back what is not begun, finishing what is; or go on."""
        self._draining = on
        if on:
            self._expire(math.inf)
            self._tasks.start(self._release(), "release")

    @property
    def _takes(self) -> bool:
        """Whether new work is welcome."""
        return not self._stopping and not self._draining

    async def _idle_within(self, seconds: float) -> None:
        """Wait until no delivery runs, but no longer than that."""
        await in_time(Deferred.fromCoroutine(self._deliveries.idle()), seconds, self._clock)

    def take(self, handed_over: Iterable[Job]) -> None:
        """Take jobs just accepted, with their content."""
        for job in handed_over:
            self._books.enter([job])
            if not self._takes or not self._books.has_room(job):
                self._to_release.append(job)
            else:
                self._books.count(job)
                self._lanes.wait(job, self._clock.seconds())
        self._pump()

    def has(self, row: Row) -> bool:
        """Whether this process still means to deal with that row under that claim."""
        return self._books.has(row)

    def forget(self) -> None:
        """Drop what is not begun: others have it. Of what is begun, only what is sent whole goes on to its end.

        The lease it was begun under has ended.
        """
        self._delivery.expel()
        dropped = list(self._lanes.older(math.inf))
        for job in dropped:
            self._books.put_down(job)
        self._books.strike(dropped + self._to_release)
        self._to_release.clear()

    def stats(self) -> dict[str, Fact]:
        """Return what the node's row shows of this worker."""
        return {"rows": self._books.row_count, "begun": self._lanes.begun_count}

    async def _round(self) -> None:
        if not self._membership.good:
            self._delivery.abort()
        self._lanes.pass_time()
        self._expire(self._clock.seconds() - BEGIN_WITHIN_SECONDS)
        await self._release()
        self._journal.record("queue.memory", jobs=self._books.row_count, octets=self._books.content_octets)
        if self._membership.good and self._takes:
            self._pump()
            await self._claiming.round()

    def _expire(self, came_before: float) -> None:
        """Give up what has waited in memory since before that time."""
        for job in self._lanes.older(came_before):
            self._books.put_down(job)
            self._to_release.append(job)

    async def _release(self) -> None:
        given_back, self._to_release = self._to_release, []
        if not given_back:
            return
        rows = [row for job in given_back for row in job.rows()]
        try:
            await self._queue.release(rows, self._membership.owner(), self._wall.now())
        except Unavailable:
            self._to_release = given_back + self._to_release
            raise
        self._books.strike(given_back)
        self._claiming.learn([lane_of(job) for job in given_back])
        self._journal.record("queue.released", count=len(rows))

    def _take_claimed(self, claimed: Sequence[Job]) -> None:
        """Let jobs wait for their turn; those whose claim was under way when a drain began are given back."""
        self._books.enter(claimed)
        if not self._takes:
            self._to_release.extend(claimed)
            return
        for job in claimed:
            self._lanes.wait(job, self._clock.seconds())
        self._pump()

    def _claim_more(self, lane: Lane) -> None:
        """Claim before the next round when there is more, and the lane has room for a good part of it."""
        if self._claiming.more and self._lanes.lane_room(lane) >= self._room.jobs.slots // CLAIMED_SHARE:
            self._tasks.start(self._claiming.again(), "claim")

    def _pump(self) -> None:
        """Begin the job whose turn it is, and the others in turns of the reactor's: nobody has to wait for them all."""
        if not (self._takes and self._holds.known):
            return
        try:
            # Before anything begins: it may lapse between two steps, and what has begun must end.
            lease = self._membership.lease()
        except LeaseLost:
            return
        job = self._lanes.begin(self._books.fits)
        if job is None:
            return
        if job.content is None:
            self._books.count(job)
        self._deliveries.start(self._deal_with(job, lease), "delivery")
        if self._pump_to_come is None and self._lanes.waiting:
            self._pump_to_come = self._clock.callLater(0, self._pump_on)

    def _pump_on(self) -> None:
        self._pump_to_come = None
        self._pump()

    async def _deal_with(self, job: Job, lease: Lease) -> None:
        done = True
        try:
            settlement, content = await self._attempted(job, lease)
            if not (lease.ended and _is_others(settlement)):
                done = await self._settler.settle(job, settlement, content)
        finally:
            if done:
                self._books.strike([job])
            self._books.count(job, -1)
            self._lanes.end(job)
            if self._takes:
                self._pump()
                self._claim_more(lane_of(job))

    async def _attempted(self, job: Job, lease: Lease) -> tuple[Settlement, Content]:
        """Return what is to be written of the attempt, and the content; a surprise is temporary."""
        try:
            return await self._attempt(job, lease)
        except Exception:
            failure = shown(Failure().getTraceback(), 4000)
            self._journal.record("task.surprise", task="delivery", failure=failure)
            return self._all_later(job, "internal trouble"), b""

    async def _attempt(self, job: Job, lease: Lease) -> tuple[Settlement, Content]:
        """Return the same; a content that is missing is worth a human's look."""
        if (met := self._holds.of(job)) is not None:
            return keep_back(job, met, self._wall.now()), b""
        content = job.content
        if content is None:
            try:
                content = await self._queue.content(job.content_id)
            except KeyError:
                return hold(job, MISSING, self._wall.now()), b""
            except Unavailable as trouble:
                return self._all_later(job, f"content cannot be read: {trouble.reason}"), b""
        return self._judged(job, await self._delivery.deliver(job, content, lambda: lease.good)), content

    def _all_later(self, job: Job, why: str) -> Settlement:
        later = outcomes.Deferred(why, Scope.OURS, "4.3.0")
        return self._judged(job, [later] * len(job.targets))

    def _judged(self, job: Job, results: list[Outcome]) -> Settlement:
        return settle(job, results, self._wall.now(), self._schedule, self._chance())


def _is_others(settlement: Settlement) -> bool:
    """Return whether a settlement says nothing that whoever has the job now would not find out themselves."""
    return all(result.disposal in (Disposal.UNTRIED, Disposal.HELD) for result in settlement.results)
