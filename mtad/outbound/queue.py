"""The queue as the rest of the process sees it: takes acceptances in, hands them to the worker, keeps the books.

What this process owns lives twice: as rows in the database and as jobs in memory. Every 30 s the two are compared, and
rows the memory lacked twice are freed for anybody to claim (DESIGN D7).
"""

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mtad.interfaces import IAcceptance, IJournal, IQueue, IQueueCare, IWallClock
from mtad.model.content import Content
from mtad.model.envelope import Recipient
from mtad.model.job import Acceptance, Job, Message, Row, Target
from mtad.model.strain import Strain
from mtad.outbound.commits import Commits
from mtad.outbound.membership import Membership
from mtad.outbound.tasks import Tasks
from mtad.outbound.worker import Worker

RECONCILE_SECONDS = 30.0


@implementer(IAcceptance)
class QueueService(Service):
    """Where flow in ends and flow out begins."""

    name = "queue"

    def __init__(
        self,
        *,
        queue: IQueue,
        care: IQueueCare,
        membership: Membership,
        worker: Worker,
        clock: IReactorTime,
        wall: IWallClock,
        journal: IJournal,
    ) -> None:
        self._queue = queue
        self._care = care
        self._membership = membership
        self._worker = worker
        self._clock = clock
        self._wall = wall
        self._journal = journal
        self._tasks = Tasks(clock, journal)
        self._lacked: set[Row] = set()
        self._accepting: set[int] = set()
        self._commits = Commits(clock)
        self._was_node = False

    def startService(self) -> None:
        """Begin keeping the books."""
        super().startService()
        self._tasks.every(RECONCILE_SECONDS, self._reconcile, "reconcile")

    def stopService(self) -> Deferred[None]:
        """Wait for what is being written."""
        return Deferred.fromCoroutine(self._tasks.stop())

    def ready(self) -> Deferred[None]:
        """Fire once this process was a node for the first time."""
        return self._membership.first_joined()

    def next_id(self) -> int:
        """Return an id never issued before; raises LeaseLost while this process is no node."""
        return self._membership.next_id()

    def accept(self, acceptance: Acceptance) -> Deferred[None]:
        """Fire once the message is durable and ours; fail with Unavailable or Unacceptable when it is not."""
        return Deferred.fromCoroutine(self._accept(acceptance))

    def strain(self) -> Strain:
        """Return how hard this is at work."""
        good = self._membership.good
        # Who was never a node is about to be one: what comes waits for that.
        self._was_node = self._was_node or good
        return self._commits.strain(away=self._was_node and not good)

    async def _accept(self, acceptance: Acceptance) -> None:
        owner = self._membership.owner()
        began = self._clock.seconds()
        ids = {message.id for message in acceptance.messages}
        self._accepting |= ids
        try:
            with self._commits.waiting(acceptance.content_id, small=isinstance(acceptance.content, bytes)):
                await self._queue.accept(acceptance, owner)
        finally:
            self._accepting -= ids
        self._journal.record("queue.accepted", seconds=self._clock.seconds() - began)
        if self._membership.is_owner(owner):
            content, sound_octets = acceptance.content, acceptance.sound_octets
            self._worker.take(job for message in acceptance.messages for job in jobs(message, content, sound_octets))

    async def _reconcile(self) -> None:
        """Free the rows the database says are ours and we have lacked in two comparisons."""
        if not self._membership.good:
            return
        owner = self._membership.owner()
        lacking = {
            row
            for row in await self._care.owned(owner)
            if row.message not in self._accepting and not self._worker.has(row)
        }
        lost = lacking & self._lacked
        self._lacked = lacking - lost
        if lost:
            self._journal.record("queue.reconciled", count=len(lost))
            await self._queue.release(sorted(lost, key=lambda row: (row.message, row.n)), owner, self._wall.now())


def jobs(message: Message, content: Content, sound_octets: int = 0) -> list[Job]:
    """Return a message just accepted as the jobs it makes, one a destination; what is quarantined makes none."""
    lanes: dict[str, list[Recipient]] = {}
    for recipient in message.recipients:
        if recipient.n in message.quarantined:
            continue
        lanes.setdefault(recipient.destination, []).append(recipient)
    return [
        Job(
            message=message.id,
            organisation=message.organisation,
            destination=destination,
            reverse_path=message.reverse_path,
            content_id=message.content_id,
            size=message.size,
            received_at=message.received_at,
            total=len(message.recipients),
            copies=message.copies,
            targets=tuple(Target(recipient, 1, 0, message.expires_at) for recipient in recipients),
            content=content,
            parameters=message.parameters,
            sound_octets=sound_octets,
        )
        for destination, recipients in lanes.items()
    ]
