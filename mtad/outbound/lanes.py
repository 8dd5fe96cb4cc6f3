"""Whose turn it is among the jobs in memory: lanes in turn, none of which can take all the room.

A lane may use a quarter of the slots it leaves free, an organisation with all its lanes as many as it leaves free: the
first whose destination hangs gets a fifth of all, the next a fifth of the rest, and who has nothing yet may have one.
So it takes many that hang to fill the room, and one that is busy has enough.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator

from mtad.model.job import Job, Lane

Key = Lane | int

LANE_SHARE = 4
ORGANISATION_SHARE = 1


class Lanes:
    """Jobs that wait, with when they came (monotonic seconds), and how many have begun; `slots` may at once."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._waiting: OrderedDict[Lane, deque[tuple[float, Job]]] = OrderedDict()
        self._waiting_count = 0
        self._begun: Counter[Key] = Counter()
        self._in_hand: Counter[Key] = Counter()
        self._begun_count = 0

    @property
    def begun_count(self) -> int:
        """How many jobs have begun and not ended."""
        return self._begun_count

    @property
    def free(self) -> int:
        """How many more jobs could be claimed now."""
        return max(0, self._slots - self._begun_count - self._waiting_count)

    def room(self, lane: Lane) -> int:
        """Return how many more jobs of a lane could be claimed now."""
        return min(self.free, *(_room(self.free, self._in_hand[key], share) for key, share in _shares(lane)))

    def wait(self, job: Job, now: float) -> None:
        """Let a job wait for its turn."""
        lane = lane_of(job)
        self._waiting.setdefault(lane, deque()).append((now, job))
        self._waiting_count += 1
        self._count(self._in_hand, lane, 1)

    def begin(self, fits: Callable[[Job], bool]) -> Job | None:
        """Return the job whose turn it is, None when none may begin; one that does not fit holds up its lane only."""
        for lane in self._waiting:
            if self._begun_count >= self._slots:
                return None
            waiting = self._waiting[lane]
            if self._may_begin(lane) and fits(waiting[0][1]):
                self._waiting.move_to_end(lane)
                job = self._pop(lane)
                self._begun_count += 1
                self._count(self._begun, lane, 1)
                self._count(self._in_hand, lane, 1)
                return job
        return None

    def end(self, job: Job) -> None:
        """Give back the slot of a job that has begun."""
        self._begun_count -= 1
        self._count(self._begun, lane_of(job), -1)
        self._count(self._in_hand, lane_of(job), -1)

    def older(self, came_before: float) -> Iterator[Job]:
        """Take out and return the jobs that came before that time."""
        for lane, waiting in list(self._waiting.items()):
            while waiting and waiting[0][0] <= came_before:
                yield self._pop(lane)

    def _may_begin(self, lane: Lane) -> bool:
        free = self._slots - self._begun_count
        return all(self._begun[key] * share < free for key, share in _shares(lane)) if free else False

    def _pop(self, lane: Lane) -> Job:
        waiting = self._waiting[lane]
        _, job = waiting.popleft()
        if not waiting:
            del self._waiting[lane]
        self._waiting_count -= 1
        self._count(self._in_hand, lane, -1)
        return job

    def _count(self, counter: Counter[Key], lane: Lane, by: int) -> None:
        for key in (lane, lane.organisation):
            counter[key] += by
            if not counter[key]:
                del counter[key]


def lane_of(job: Job) -> Lane:
    """Return the lane a job waits in."""
    return Lane(job.organisation, job.destination)


def _shares(lane: Lane) -> tuple[tuple[Key, int], ...]:
    """Return what a lane is counted under, and how many times its slots must be left free."""
    return (lane, LANE_SHARE), (lane.organisation, ORGANISATION_SHARE)


def _room(free: int, in_hand: int, share: int) -> int:
    """Return how many more one may take and leave `share` times as many; who has nothing may take one."""
    return max((free - share * in_hand) // (share + 1), 0 if in_hand else 1)
