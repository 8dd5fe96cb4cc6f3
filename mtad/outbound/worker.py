"""The worker: begins jobs as room allows, a lane at a time in turn, settles what they came to.

Jobs come from two sides: handed over at acceptance with their content in memory, and claimed from the database. A
handed-over job that is not begun within 5 s, or whose content would exceed the budget, is given back in a batch;
somebody with room will claim it (DESIGN D7). Nothing is begun without a good lease (D8). A report of failure is written
with the settlement it belongs to, and claimed like anything that waits.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from mtad.interfaces import IJournal, IQueue, IWallClock
from mtad.model import outcome as outcomes
from mtad.model.errors import Unavailable
from mtad.model.event import Fact
from mtad.model.identity import print_id
from mtad.model.job import Disposal, Job, Lane, Row, Settlement
from mtad.model.outcome import Outcome, Scope
from mtad.outbound.delivery import DeliveryService
from mtad.outbound.membership import Membership
from mtad.outbound.reporting import Reporting
from mtad.outbound.settlement import MISSING, Schedule, hold, settle
from mtad.outbound.tasks import Tasks

CLAIM_SECONDS = 1.0
BEGIN_WITHIN_SECONDS = 5.0
READY_LANES = 100
IDLE_PAGES = 10
SETTLE_AGAIN_SECONDS = 1.0
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Room:
    """How much a worker does at once: jobs in all, jobs of one lane, octets of content in memory."""

    jobs: int
    jobs_per_lane: int
    content_octets: int = 64 * 1024 * 1024


class Worker(Service):
    """Delivers what this process owns."""

    name = "worker"

    def __init__(
        self,
        *,
        queue: IQueue,
        delivery: DeliveryService,
        reporting: Reporting,
        membership: Membership,
        clock: IReactorTime,
        wall: IWallClock,
        journal: IJournal,
        chance: Callable[[], float],
        schedule: Schedule,
        room: Room,
    ) -> None:
        self._queue = queue
        self._delivery = delivery
        self._reporting = reporting
        self._membership = membership
        self._clock = clock
        self._wall = wall
        self._journal = journal
        self._chance = chance
        self._schedule = schedule
        self._room = room
        self._lanes: OrderedDict[Lane, deque[tuple[float, Job]]] = OrderedDict()
        self._begun: dict[Lane, int] = {}
        self._begun_count = 0
        self._content_octets = 0
        self._to_release: list[Job] = []
        self._after: Lane | None = None
        self._books: dict[tuple[int, int], int] = {}
        self._tasks = Tasks(clock, journal)
        self._deliveries = Tasks(clock, journal)
        self._stopping = False
        self._abandoned = False

    def startService(self) -> None:
        """Begin to claim."""
        super().startService()
        self._stopping = False
        self._tasks.every(CLAIM_SECONDS, self._round, "claim")

    def stopService(self) -> Deferred[None]:
        """Begin nothing more; finish what is in hand within the patience, give the rest back."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        await self._tasks.stop()
        for waiting in self._lanes.values():
            self._to_release.extend(job for _, job in waiting)
        self._lanes.clear()
        done = Deferred.fromCoroutine(self._deliveries.idle())
        done.addTimeout(PATIENCE_SECONDS, self._clock, lambda _, __: None)
        await done
        self._abandoned = True
        await self._release()

    def take(self, handed_over: Iterable[Job]) -> None:
        """Take jobs just accepted, with their content."""
        for job in handed_over:
            self._enter(job)
            if self._stopping or self._content_octets + job.size > self._room.content_octets:
                self._to_release.append(job)
            else:
                self._content_octets += job.size
                self._wait(job)
        self._pump()

    def has(self, row: Row) -> bool:
        """Whether this process still means to deal with that row under that claim."""
        return self._books.get((row.message, row.n)) == row.claim

    def forget(self) -> None:
        """Drop what is not begun: others have it. Of what is begun, only what is sent whole goes on to its end."""
        self._delivery.abort()
        for waiting in self._lanes.values():
            for _, job in waiting:
                self._leave(job)
        self._lanes.clear()
        for job in self._to_release:
            self._leave(job, in_memory=False)
        self._to_release.clear()

    def stats(self) -> dict[str, Fact]:
        """Return what the node's row shows of this worker."""
        return {"waiting": len(self._books) - self._begun_count, "begun": self._begun_count}

    def _enter(self, job: Job) -> None:
        for target in job.targets:
            self._books[job.message, target.recipient.n] = target.claim

    def _leave(self, job: Job, *, in_memory: bool = True) -> None:
        for target in job.targets:
            if self._books.get((job.message, target.recipient.n)) == target.claim:
                del self._books[job.message, target.recipient.n]
        if in_memory and job.content is not None:
            self._content_octets -= job.size

    def _wait(self, job: Job) -> None:
        lane = Lane(job.organisation, job.destination)
        self._lanes.setdefault(lane, deque()).append((self._clock.seconds(), job))

    async def _round(self) -> None:
        if not self._membership.good:
            self._delivery.abort()
        self._expire()
        await self._release()
        self._journal.record("queue.memory", jobs=len(self._books), octets=self._content_octets)
        if self._membership.good and not self._stopping:
            self._pump()
            await self._claim()

    def _expire(self) -> None:
        """Give up what has waited too long in memory."""
        now = self._clock.seconds()
        for lane, waiting in list(self._lanes.items()):
            while waiting and now - waiting[0][0] >= BEGIN_WITHIN_SECONDS:
                _, job = waiting.popleft()
                if job.content is not None:
                    self._content_octets -= job.size
                self._to_release.append(job)
            if not waiting:
                del self._lanes[lane]

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
            self._leave(job, in_memory=False)
        self._journal.record("queue.released", count=len(rows))

    async def _claim(self) -> None:
        """Claim as long as there is room and something to claim, page after page of the lanes that are ready.

        After IDLE_PAGES without anything the rest of the lanes waits for the next round.
        """
        idle = 0
        while (free := self._free()) > 0 and self._membership.good and not self._stopping:
            ready = await self._queue.ready(self._wall.now(), READY_LANES, self._after)
            self._after = ready.after
            claimed = await self._claim_from([lane for lane in ready.lanes if self._lane_free(lane) > 0][:free], free)
            idle = 0 if claimed else idle + 1
            if idle == IDLE_PAGES or (idle and self._after is None):
                return

    async def _claim_from(self, lanes: Sequence[Lane], free: int) -> bool:
        if not lanes:
            return False
        per_lane = max(1, min(free // len(lanes), min(map(self._lane_free, lanes))))
        claimed = await self._queue.claim(self._membership.owner(), lanes, per_lane, self._wall.now())
        for job in claimed:
            self._enter(job)
            self._wait(job)
        self._pump()
        if claimed:
            self._journal.record("queue.claimed", count=sum(len(job.targets) for job in claimed))
        return bool(claimed)

    def _free(self) -> int:
        return self._room.jobs - self._begun_count - sum(map(len, self._lanes.values()))

    def _lane_free(self, lane: Lane) -> int:
        return self._room.jobs_per_lane - self._begun.get(lane, 0) - len(self._lanes.get(lane, ()))

    def _pump(self) -> None:
        """Begin jobs, one of each lane in turn."""
        if not self._membership.good:
            return
        full: set[Lane] = set()
        while self._begun_count < self._room.jobs and len(full) < len(self._lanes):
            lane, waiting = next(iter(self._lanes.items()))
            self._lanes.move_to_end(lane)
            if self._begun.get(lane, 0) >= self._room.jobs_per_lane:
                full.add(lane)
                continue
            _, job = waiting.popleft()
            if not waiting:
                del self._lanes[lane]
            self._begun[lane] = self._begun.get(lane, 0) + 1
            self._begun_count += 1
            self._deliveries.start(self._deal_with(lane, job), "delivery")

    async def _deal_with(self, lane: Lane, job: Job) -> None:
        try:
            await self._settle(job, *await self._attempt(job))
        finally:
            self._leave(job)
            self._begun_count -= 1
            self._begun[lane] -= 1
            if not self._begun[lane]:
                del self._begun[lane]
            if not self._stopping:
                self._pump()

    async def _attempt(self, job: Job) -> tuple[Settlement, bytes]:
        """Return what is to be written of the attempt, and the content; a missing one is worth a human's look."""
        content = job.content
        if content is None:
            try:
                content = await self._queue.content(job.content_id)
            except KeyError:
                return hold(job, MISSING, self._wall.now()), b""
            except Unavailable as trouble:
                later = outcomes.Deferred(f"content cannot be read: {trouble.reason}", Scope.MESSAGE, "4.3.0")
                return self._judged(job, [later] * len(job.targets)), b""
        return self._judged(job, await self._delivery.deliver(job, content)), content

    def _judged(self, job: Job, results: list[Outcome]) -> Settlement:
        return settle(job, results, self._wall.now(), self._schedule, self._chance)

    async def _settle(self, job: Job, settlement: Settlement, content: bytes) -> None:
        """Write what it came to, again and again until it is written; the claim says whether it still counts."""
        now = self._wall.now()
        self._tell(job, settlement)
        while not self._abandoned:
            try:
                settlement = await self._reporting.reported(job, settlement, content, now)
                await self._queue.settle([settlement], self._membership.owner(), now)
            except Unavailable as trouble:
                self._journal.record("store.unavailable", dependency=trouble.dependency, reason=trouble.reason)
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
        for report in settlement.reports:
            self._journal.record("report.queued", id=print_id(report.content_id), about=print_id(settlement.message))
