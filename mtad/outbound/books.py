"""The books: which rows a worker has in hand under which claims, and how much memory their contents take.

Octets are counted of what is in memory; of what is in the spool, how many jobs have it. A content that is read from the
database is counted from when its job begins, one that was handed over from when it came.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mtad.model.content import SPOOL_OCTETS
from mtad.model.job import Job, Row
from mtad.outbound.lanes import Bounds
from mtad.scheduling.memory import Memory, Use

CONTENT_COPIES = 2
"""A content is there once more in the form it leaves in."""
ROW_OCTETS = 2 * 1024
"""About what a row takes in memory besides the content."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much a worker does at once: jobs, octets of content in memory, and jobs whose content is in the spool."""

    jobs: Bounds
    content_octets: int = 64 * 1024 * 1024
    spooled_jobs: int = 200


class Books:
    """What is in hand, within `room` and the process' `memory`. `content_octets` are of contents in memory."""

    def __init__(self, room: Room, memory: Memory) -> None:
        self.content_octets = 0
        self._room = room
        self._memory = memory
        self._stake = memory.stake(Use.DELIVERY)
        self._claims: dict[tuple[int, int], int] = {}
        self._spooled_jobs = 0

    @property
    def row_count(self) -> int:
        """How many rows are in hand."""
        return len(self._claims)

    def has(self, row: Row) -> bool:
        """Return whether that row is in hand under that claim."""
        return self._claims.get((row.message, row.n)) == row.claim

    def enter(self, jobs: Iterable[Job]) -> None:
        """Have the rows of these jobs in hand."""
        for job in jobs:
            for target in job.targets:
                self._claims[job.message, target.recipient.n] = target.claim
        self._tell()

    def strike(self, jobs: Iterable[Job]) -> None:
        """Have them in hand no more, but for rows that came again under a later claim."""
        for job in jobs:
            for target in job.targets:
                if self._claims.get((job.message, target.recipient.n)) == target.claim:
                    del self._claims[job.message, target.recipient.n]
        self._tell()

    def count(self, job: Job, times: int = 1) -> None:
        """Count a job's content where it is, or with -1 no more."""
        if _is_spooled(job):
            self._spooled_jobs += times
        else:
            self.content_octets += times * job.size
        self._tell()

    def put_down(self, job: Job) -> None:
        """Count the content of a job no more that did not begin: one that was handed over came with it."""
        if job.content is not None:
            self.count(job, -1)

    def has_room(self, job: Job) -> bool:
        """Return whether there is room for a job's content."""
        if _is_spooled(job):
            return self._spooled_jobs < self._room.spooled_jobs
        return self.content_octets + job.size <= self._room.content_octets and self._memory.fits(job.size)

    def fits(self, job: Job) -> bool:
        """Return whether a job can begin: one that was handed over has its content, and one alone always can."""
        alone = not (self._spooled_jobs if _is_spooled(job) else self.content_octets)
        return job.content is not None or alone or self.has_room(job)

    def _tell(self) -> None:
        self._stake.hold(CONTENT_COPIES * self.content_octets + ROW_OCTETS * len(self._claims))


def _is_spooled(job: Job) -> bool:
    """Return whether a job's content is in the spool, or will be once it is read."""
    return job.size > SPOOL_OCTETS if job.content is None else not isinstance(job.content, bytes)
