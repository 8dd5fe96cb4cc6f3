"""Whose turn it is among the jobs in memory, and how many each may have begun at once.

Turns go by deficit round robin (`mtad.scheduling.fairness`) over organisations, in each over its domains, in each over
destinations; a job costs its octets and something for each recipient. Shares keep room for whoever comes next: an
organisation has begun at most as many jobs as it leaves slots free, a lane (an organisation's destination) at most a
third of what its organisation may still begin, and who has none may begin one. So it takes many that hang to fill the
slots, and one destination that hangs leaves its organisation's others room. A place (a server with a bounded number of
connections) has no more begun jobs than it takes connections: to wait for one there would waste a slot.

Claims go ahead of that only where jobs end quickly, so that the next ones are here by then, and by one for whoever has
none: what is claimed for a server that hangs could not be tried by anybody else.

What may not begin is looked at again when that may have changed, not at every turn: an organisation, a lane and a job
that is too large when some job has ended, one of those that wait for a place when a job there has.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import cast

from mtad.model.job import Job, Lane
from mtad.scheduling.fairness import NestedRoundRobin

ORGANISATION_SHARE = 1
LANE_SHARE = 3
AHEAD_SHARE = 4
"""Of so many slots one more job may be claimed than there are slots, for those who have none."""
RECIPIENT_OCTETS = 8 * 1024
"""What a recipient costs, beside the octets of the message."""
QUANTUM_OCTETS = RECIPIENT_OCTETS
"""No job costs less: a turn is one job, or part of one."""

Path = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many jobs may have begun at once: `slots` in all, and `at_place` at each place.

    `place` says where a destination's jobs need a connection; None where they need none.
    """

    slots: int
    at_place: int = 20
    place: Callable[[str], str | None] = lambda destination: None


@dataclass(slots=True)
class _Leaf:
    """Jobs of one path that wait, with when they came (monotonic seconds): those claimed, and those handed over."""

    path: Path
    lane: Lane
    place: str | None
    claimed: deque[tuple[float, Job]] = field(default_factory=deque)
    handed_over: deque[tuple[float, Job]] = field(default_factory=deque)
    turn_of_claimed: bool = True

    @property
    def queue(self) -> deque[tuple[float, Job]]:
        """Whose first is next; while there are both kinds they alternate, so that neither waits for the other's end."""
        if self.claimed and (self.turn_of_claimed or not self.handed_over):
            return self.claimed
        return self.handed_over

    def pop(self, queue: deque[tuple[float, Job]]) -> Job:
        """Take out the first of one of the two."""
        self.turn_of_claimed = queue is self.handed_over
        return queue.popleft()[1]


class Lanes:
    """Jobs that wait, and how many have begun. One without content was claimed, any other was handed over."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._turns = NestedRoundRobin(QUANTUM_OCTETS)
        self._leaves: dict[Path, _Leaf] = {}
        self._begun: Counter[Hashable] = Counter()
        self._begun_count = 0
        # Of those that wait only the claimed ones: how many are handed over is not ours to choose.
        self._in_hand: Counter[Hashable] = Counter()
        self._claimed: Counter[Hashable] = Counter()
        self._waiting_claimed_count = 0
        self._in_vain: set[Lane] = set()
        # How many jobs have ended lately.
        self._moved: Counter[Hashable] = Counter()
        self._capped: list[int] = []
        self._set_aside: list[Path] = []
        self._parked: dict[str, OrderedDict[Path, None]] = {}

    @property
    def begun_count(self) -> int:
        """How many jobs have begun and not ended."""
        return self._begun_count

    @property
    def waiting(self) -> bool:
        """Whether any job waits for its turn."""
        return bool(self._leaves)

    @property
    def room(self) -> int:
        """How many jobs could be claimed now, by those who have none of their own too."""
        return max(0, self._left + max(1, self._bounds.slots // AHEAD_SHARE))

    @property
    def _left(self) -> int:
        """How many slots are left once all that is claimed has begun."""
        return self._bounds.slots - self._begun_count - self._waiting_claimed_count

    def organisation_room(self, organisation: int) -> int:
        """Return how many jobs of an organisation could be claimed now."""
        room = (self._left - ORGANISATION_SHARE * self._in_hand[organisation]) // (ORGANISATION_SHARE + 1)
        return min(self.room, max(room + self._ahead(organisation), self._least(organisation)))

    def place_of(self, lane: Lane) -> str | None:
        """Return the place where a lane's jobs need a connection."""
        return self._bounds.place(lane.destination)

    def place_room(self, lane: Lane) -> int:
        """Return how many jobs of a lane could be claimed now, if it were only for its place."""
        place = self.place_of(lane)
        if place is None:
            return self.room
        left = self._bounds.at_place - self._in_hand[_place(place)]
        most_ahead = max(1, self._bounds.at_place // AHEAD_SHARE)
        return max(0, left + self._ahead(_place(place)), self._least(lane) if left + most_ahead > 0 else 0)

    def lane_room(self, lane: Lane) -> int:
        """Return how many jobs of a lane could be claimed now."""
        organisation = self.organisation_room(lane.organisation)
        unused = self._left - ORGANISATION_SHARE * self._in_hand[lane.organisation]
        room = (unused - LANE_SHARE * self._in_hand[lane]) // (LANE_SHARE + ORGANISATION_SHARE + 1)
        return min(organisation, self.place_room(lane), max(room + self._ahead(lane), self._least(lane)))

    def _ahead(self, key: Hashable) -> int:
        """Return how many more are claimed than may begin now: as many as ended lately, while there are free slots."""
        return min(self._moved[key], self._bounds.slots // AHEAD_SHARE, max(0, self._left))

    def _least(self, key: Hashable) -> int:
        """Return 1 for who has no claimed job in hand: what is handed over must not keep out what waits for long.

        0 where the last one never had its turn, until some job has ended: another process may have room.
        """
        return 0 if self._claimed[key] or (self._begun_count and key in self._in_vain) else 1

    def wait(self, job: Job, now: float) -> None:
        """Let a job wait for its turn."""
        path = _path(job)
        leaf = self._leaves.get(path)
        if leaf is None:
            lane = lane_of(job)
            leaf = self._leaves[path] = _Leaf(path, lane, self.place_of(lane))
            self._turns.add(path)
        if job.content is None:
            leaf.claimed.append((now, job))
            self._waiting_claimed_count += 1
            self._count(self._in_hand, leaf, 1)
            self._count(self._claimed, leaf, 1)
        else:
            leaf.handed_over.append((now, job))

    def begin(self, fits: Callable[[Job], bool]) -> Job | None:
        """Return the job whose turn it is, None when none may begin; one that does not fit is passed by."""
        while self._begun_count < self._bounds.slots and (leaf := self._next()) is not None:
            if not self._organisation_may_begin(leaf.lane.organisation):
                self._turns.suspend(leaf.lane.organisation)
                self._capped.append(leaf.lane.organisation)
            elif self._is_full(leaf.place):
                self._park(leaf)
            elif not self._lane_may_begin(leaf.lane) or not fits(leaf.queue[0][1]):
                self._turns.remove(leaf.path)
                self._set_aside.append(leaf.path)
                self._unpark(leaf.place)
            else:
                return self._begin(leaf)
        return None

    def end(self, job: Job) -> None:
        """Give back the slot of a job that has begun."""
        lane = lane_of(job)
        place = self.place_of(lane)
        leaf = _Leaf(_path(job), lane, place)
        self._begun_count -= 1
        self._count(self._begun, leaf, -1)
        self._count(self._in_hand, leaf, -1)
        self._count(self._moved, leaf, 1)
        if job.content is None:
            self._count(self._claimed, leaf, -1)
        self._in_vain = {each for each in self._in_vain if each != lane and self._begun[each]}
        self._look_again()
        self._unpark(place)

    def pass_time(self) -> None:
        """Remember less of what ended; called about once a second."""
        self._moved = Counter({key: count // 2 for key, count in self._moved.items() if count > 1})

    def older(self, came_before: float) -> Iterator[Job]:
        """Take out and return the jobs that came before that time."""
        self._look_again()
        for leaf in list(self._leaves.values()):
            for queue in (leaf.claimed, leaf.handed_over):
                if queue is leaf.claimed and queue and queue[0][0] <= came_before:
                    self._in_vain.add(leaf.lane)
                while queue and queue[0][0] <= came_before:
                    yield self._take_out(leaf, queue)

    def _next(self) -> _Leaf | None:
        """Return the leaf whose turn it is; None when none has one, also of those whose places have room."""
        while not len(self._turns):
            open_ = next((place for place in self._parked if not self._is_full(place)), None)
            if open_ is None:
                return None
            self._unpark(open_)
        return self._leaves[cast(Path, self._turns.next())]

    def _begin(self, leaf: _Leaf) -> Job:
        job = leaf.queue[0][1]
        self._turns.charge(leaf.path, cost(job))
        self._take_out(leaf, leaf.queue)
        self._begun_count += 1
        self._count(self._begun, leaf, 1)
        self._count(self._in_hand, leaf, 1)
        if job.content is None:
            self._count(self._claimed, leaf, 1)
        return job

    def _take_out(self, leaf: _Leaf, queue: deque[tuple[float, Job]]) -> Job:
        """Remove the first of a leaf's queue, and the leaf with its last job."""
        job = leaf.pop(queue)
        if job.content is None:
            self._waiting_claimed_count -= 1
            self._count(self._in_hand, leaf, -1)
            self._count(self._claimed, leaf, -1)
        if not leaf.claimed and not leaf.handed_over:
            del self._leaves[leaf.path]
            self._turns.remove(leaf.path)
            if leaf.place is not None:
                self._parked.get(leaf.place, OrderedDict()).pop(leaf.path, None)
                self._unpark(leaf.place)
        return job

    def _organisation_may_begin(self, organisation: int) -> bool:
        return self._begun[organisation] * ORGANISATION_SHARE < self._bounds.slots - self._begun_count

    def _lane_may_begin(self, lane: Lane) -> bool:
        unused = self._bounds.slots - self._begun_count - ORGANISATION_SHARE * self._begun[lane.organisation]
        return self._begun[lane] * LANE_SHARE < unused

    def _is_full(self, place: str | None) -> bool:
        return place is not None and self._begun[_place(place)] >= self._bounds.at_place

    def _park(self, leaf: _Leaf) -> None:
        """Let a leaf wait for its place."""
        assert leaf.place is not None
        self._turns.remove(leaf.path)
        self._parked.setdefault(leaf.place, OrderedDict())[leaf.path] = None

    def _unpark(self, place: str | None) -> None:
        """Let one that waits for a place, the longest of those whose organisation may go on, take part again."""
        parked = self._parked.get(place, None) if place is not None else None
        while parked and not self._is_full(place):
            path, _ = parked.popitem(last=False)
            self._turns.add(path)
            if self._organisation_may_begin(path[0]):
                break
        if place is not None and not parked:
            self._parked.pop(place, None)

    def _look_again(self) -> None:
        """Let those take part again who had their share, or did not fit."""
        capped, self._capped = self._capped, []
        for organisation in capped:
            self._turns.resume(organisation)
        aside, self._set_aside = self._set_aside, []
        for path in aside:
            if path in self._leaves:
                self._turns.add(path)

    def _count(self, counter: Counter[Hashable], leaf: _Leaf, by: int) -> None:
        keys: tuple[Hashable, ...] = (leaf.lane, leaf.lane.organisation)
        for key in keys if leaf.place is None else (*keys, _place(leaf.place)):
            counter[key] += by
            if not counter[key]:
                del counter[key]


def lane_of(job: Job) -> Lane:
    """Return the lane a job waits in."""
    return Lane(job.organisation, job.destination)


def cost(job: Job) -> int:
    """Return what a job is charged for, in octets."""
    return job.size + RECIPIENT_OCTETS * len(job.targets)


def domain_of(job: Job) -> str:
    """Return which of an organisation's domains a job is of: the one it goes to when that is here, else its sender's.

    What comes from outside may say any sender, and gets no more turns by it.
    """
    kind, _, domain = job.destination.partition(":")
    if kind == "local":
        return domain
    return job.reverse_path.domain if job.reverse_path is not None else ""


def _path(job: Job) -> Path:
    return job.organisation, domain_of(job), job.destination


def _place(name: str) -> tuple[str, str]:
    """Return what a place is counted under, apart from lanes and organisations."""
    return "place", name
