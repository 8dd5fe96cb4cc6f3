"""The worker: begins jobs whose turn it is as room allows, settles what they came to.

Jobs come from two sides: handed over at acceptance with their content, and claimed from the database
(`mtad.outbound.claiming`); in memory all compete by the same rule (`mtad.outbound.lanes`). A job that is not begun
within 5 s, or was handed over with a content that would exceed the budget, is given back in a batch; somebody with room
will claim it (DESIGN D7). Octets are counted of what is in memory; of what is in the spool, how many jobs have
it. Nothing is begun without a good lease (D8). A report of failure is written with the settlement it belongs to, and
claimed like anything that waits.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater

from mtad.interfaces import IJournal, IQueue, IWallClock
from mtad.model import outcome as outcomes
from mtad.model.content import SPOOL_OCTETS, Content
from mtad.model.errors import Unavailable
from mtad.model.event import Fact
from mtad.model.identity import print_id
from mtad.model.job import Disposal, Job, Lane, Row, Settlement
from mtad.model.outcome import Outcome, Scope
from mtad.outbound.claiming import Claiming
from mtad.outbound.delivery import DeliveryService
from mtad.outbound.holding import Holding
from mtad.outbound.lanes import Bounds, Lanes, lane_of
from mtad.outbound.membership import Membership
from mtad.outbound.reporting import Reporting
from mtad.outbound.settlement import MISSING, Schedule, hold, keep_back, settle
from mtad.outbound.tasks import Tasks
from mtad.scheduling.memory import Memory, Part

CLAIM_SECONDS = 1.0
BEGIN_WITHIN_SECONDS = 5.0
CONTENT_COPIES = 2
"""A content is there once more in the form it leaves in."""
ROW_OCTETS = 2 * 1024
"""About what a row takes in memory besides the content."""
CLAIMED_SHARE = 10
"""A trip to the database before the next round is worth it for so great a part of the slots."""
SETTLE_AGAIN_SECONDS = 1.0
PATIENCE_SECONDS = 16.0
LAST_SECONDS = 4.0
"""How long a stop waits, once it cut off what was not done in time, for that to be written."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much a worker does at once: jobs, octets of content in memory, and jobs whose content is in the spool."""

    jobs: Bounds
    content_octets: int = 64 * 1024 * 1024
    spooled_jobs: int = 200


class Worker(Service):
    """Delivers what this process owns."""

    name = "worker"

    def __init__(
        self,
        *,
        queue: IQueue,
        delivery: DeliveryService,
        reporting: Reporting,
        holds: Holding,
        membership: Membership,
        clock: IReactorTime,
        wall: IWallClock,
        journal: IJournal,
        chance: Callable[[], float],
        schedule: Schedule,
        room: Room,
        memory: Memory,
    ) -> None:
        self._queue = queue
        self._delivery = delivery
        self._reporting = reporting
        self._holds = holds
        self._membership = membership
        self._clock = clock
        self._wall = wall
        self._journal = journal
        self._chance = chance
        self._schedule = schedule
        self._room = room
        self._lanes = Lanes(room.jobs)
        self._memory = memory
        self._holding = memory.holding(Part.DELIVERY)
        self._content_octets = 0
        self._spooled_jobs = 0
        self._to_release: list[Job] = []
        self._claiming = Claiming(
            queue=queue,
            lanes=self._lanes,
            wall=wall,
            journal=journal,
            owner=membership.owner,
            may=lambda: membership.good and self._takes,
            closed=holds.closes,
            took=self._take_claimed,
        )
        self._pump_to_come: IDelayedCall | None = None
        self._books: dict[tuple[int, int], int] = {}
        self._tasks = Tasks(clock, journal)
        self._deliveries = Tasks(clock, journal)
        self._stopping = False
        self._draining = False
        self._abandoned = False

    def startService(self) -> None:
        """Begin to claim."""
        super().startService()
        self._stopping = False
        self._tasks.every(CLAIM_SECONDS, self._round, "claim")

    def stopService(self) -> Deferred[None]:
        """Begin nothing more; finish what is in hand within the patience, cut off what is not, give the rest back."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        await self._tasks.stop()
        self._to_release.extend(self._lanes.older(math.inf))
        await self._idle_within(PATIENCE_SECONDS)
        # What a server was told whole may have been taken: its story must say so before it is sent again.
        self._delivery.abort(stopping=True)
        await self._idle_within(LAST_SECONDS)
        self._abandoned = True
        try:
            await self._release()
        except Unavailable as trouble:
            # The rows are freed when their node is found dead.
            self._journal.record("store.unavailable", dependency=trouble.dependency, reason=trouble.reason)

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
        done = Deferred.fromCoroutine(self._deliveries.idle())
        done.addTimeout(seconds, self._clock, lambda _, __: None)
        await done

    def take(self, handed_over: Iterable[Job]) -> None:
        """Take jobs just accepted, with their content."""
        for job in handed_over:
            self._enter(job)
            if not self._takes or not self._has_room(job):
                self._to_release.append(job)
            else:
                self._hold(job)
                self._lanes.wait(job, self._clock.seconds())
        self._pump()

    def has(self, row: Row) -> bool:
        """Whether this process still means to deal with that row under that claim."""
        return self._books.get((row.message, row.n)) == row.claim

    def forget(self) -> None:
        """Drop what is not begun: others have it. Of what is begun, only what is sent whole goes on to its end."""
        self._delivery.abort()
        for job in self._lanes.older(math.inf):
            self._put_down(job)
            self._leave(job)
        for job in self._to_release:
            self._leave(job)
        self._to_release.clear()

    def stats(self) -> dict[str, Fact]:
        """Return what the node's row shows of this worker."""
        return {"rows": len(self._books), "begun": self._lanes.begun_count}

    def _enter(self, job: Job) -> None:
        for target in job.targets:
            self._books[job.message, target.recipient.n] = target.claim

    def _leave(self, job: Job) -> None:
        for target in job.targets:
            if self._books.get((job.message, target.recipient.n)) == target.claim:
                del self._books[job.message, target.recipient.n]

    def _put_down(self, job: Job) -> None:
        """Count the content of a job that waited no more: one that was handed over came with it."""
        if job.content is not None:
            self._hold(job, -1)

    def _hold(self, job: Job, times: int = 1) -> None:
        """Count a job's content where it is, or with -1 no more."""
        if _is_spooled(job):
            self._spooled_jobs += times
        else:
            self._content_octets += times * job.size
        self._holding.hold(CONTENT_COPIES * self._content_octets + ROW_OCTETS * len(self._books))

    def _has_room(self, job: Job) -> bool:
        if _is_spooled(job):
            return self._spooled_jobs < self._room.spooled_jobs
        return self._content_octets + job.size <= self._room.content_octets and self._memory.fits(job.size)

    async def _round(self) -> None:
        if not self._membership.good:
            self._delivery.abort()
        self._lanes.pass_time()
        self._expire(self._clock.seconds() - BEGIN_WITHIN_SECONDS)
        await self._release()
        self._journal.record("queue.memory", jobs=len(self._books), octets=self._content_octets)
        if self._membership.good and self._takes:
            self._pump()
            await self._claiming.round()

    def _expire(self, came_before: float) -> None:
        """Give up what has waited in memory since before that time."""
        for job in self._lanes.older(came_before):
            self._put_down(job)
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
        for job in given_back:
            self._leave(job)
        self._claiming.learn([lane_of(job) for job in given_back])
        self._journal.record("queue.released", count=len(rows))

    def _take_claimed(self, claimed: Sequence[Job]) -> None:
        for job in claimed:
            self._enter(job)
            self._lanes.wait(job, self._clock.seconds())
        self._pump()

    def _claim_more(self, lane: Lane) -> None:
        """Claim before the next round when there is more, and the lane has room for a good part of it."""
        if self._claiming.more and self._lanes.lane_room(lane) >= self._room.jobs.slots // CLAIMED_SHARE:
            self._tasks.start(self._claiming.again(), "claim")

    def _fits(self, job: Job) -> bool:
        """Whether a job's content can be read; one that was handed over has it, and one alone always can."""
        alone = not (self._spooled_jobs if _is_spooled(job) else self._content_octets)
        return job.content is not None or alone or self._has_room(job)

    def _pump(self) -> None:
        """Begin the job whose turn it is, and the others in turns of the reactor's: nobody has to wait for them all."""
        if not (self._membership.good and self._holds.known):
            return
        job = self._lanes.begin(self._fits)
        if job is None:
            return
        if job.content is None:
            self._hold(job)
        self._deliveries.start(self._deal_with(job), "delivery")
        if self._pump_to_come is None:
            self._pump_to_come = self._clock.callLater(0, self._pump_on)

    def _pump_on(self) -> None:
        self._pump_to_come = None
        self._pump()

    async def _deal_with(self, job: Job) -> None:
        try:
            await self._settle(job, *await self._attempt(job))
        finally:
            self._leave(job)
            self._hold(job, -1)
            self._lanes.end(job)
            if self._takes:
                self._pump()
                self._claim_more(lane_of(job))

    async def _attempt(self, job: Job) -> tuple[Settlement, Content]:
        """Return what is to be written of the attempt, and the content; a missing one is worth a human's look."""
        if (met := self._holds.of(job)) is not None:
            return keep_back(job, met, self._wall.now()), b""
        content = job.content
        if content is None:
            try:
                content = await self._queue.content(job.content_id)
            except KeyError:
                return hold(job, MISSING, self._wall.now()), b""
            except Unavailable as trouble:
                later = outcomes.Deferred(f"content cannot be read: {trouble.reason}", Scope.OURS, "4.3.0")
                return self._judged(job, [later] * len(job.targets)), b""
        return self._judged(job, await self._delivery.deliver(job, content)), content

    def _judged(self, job: Job, results: list[Outcome]) -> Settlement:
        return settle(job, results, self._wall.now(), self._schedule, self._chance())

    async def _settle(self, job: Job, settlement: Settlement, content: Content) -> None:
        """Write what it came to, again and again until it is written; the claim says whether it still counts."""
        now = self._wall.now()
        self._tell(job, settlement)
        while not self._abandoned:
            try:
                settlement = await self._reporting.reported(job, settlement, content, now)
                await self._queue.settle([settlement], self._membership.owner(), now)
            except Unavailable as trouble:
                self._journal.record("store.unavailable", dependency=trouble.dependency, reason=trouble.reason)
                if trouble.dependency == "disk":
                    # What the spool lost it will not find again; the report does without.
                    content = b""
                await deferLater(self._clock, SETTLE_AGAIN_SECONDS)
            else:
                self._journal.record("queue.settled", count=len(settlement.results))
                self._tell_reports(settlement)
                return

    def _tell(self, job: Job, settlement: Settlement) -> None:
        """Record which recipients are held, and which are given up."""
        for target, result in zip(job.targets, settlement.results, strict=True):
            if result.disposal is Disposal.HELD or result.undelivered:
                self._journal.record(
                    "delivery.held" if result.disposal is Disposal.HELD else "delivery.given_up",
                    id=print_id(job.message),
                    n=target.recipient.n,
                    recipient=str(target.recipient.address),
                    detail=result.outcome.detail,
                )

    def _tell_reports(self, settlement: Settlement) -> None:
        for told in settlement.reports:
            self._journal.record(
                "report.queued",
                id=print_id(told.report.content_id),
                about=print_id(settlement.message),
                action=told.action.value,
            )


def _is_spooled(job: Job) -> bool:
    """Return whether a job's content is in the spool, or will be once it is read."""
    return job.size > SPOOL_OCTETS if job.content is None else not isinstance(job.content, bytes)
