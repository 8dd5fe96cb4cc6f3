"""The lanes that have due rows, as far as this process knows, and whose turn it is to be claimed from.

Organisations take turns by deficit round robin, and in each its destinations one after the other. What is known is
brought in slices by who reads the database, and forgotten once a claim found less than it asked for. Lanes whose place
takes no more jobs are put aside, so that fifty thousand that wait for the same server cost the others nothing.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from mtad.model.job import Job, Lane
from mtad.outbound.lanes import QUANTUM_OCTETS, RECIPIENT_OCTETS, Lanes, cost, lane_of
from mtad.scheduling.fairness import DeficitRoundRobin

MAX_LANES = 100_000
MAX_LANES_OF_ONE = 1_000
"""What is beyond is learned again once some of the others are done."""


class ReadyLanes:
    """Known lanes. The dictionaries are ordered sets, for there may be very many of them."""

    def __init__(self) -> None:
        self._turns: DeficitRoundRobin[int] = DeficitRoundRobin(QUANTUM_OCTETS)
        self._destinations: dict[int, dict[str, None]] = {}
        self._parked: dict[str, dict[Lane, None]] = {}
        self._known: set[Lane] = set()

    def __len__(self) -> int:
        """Return how many lanes are known and not put aside."""
        return len(self._known) - sum(map(len, self._parked.values()))

    def learn(self, lanes: Iterable[Lane]) -> None:
        """Know of lanes that have due rows, as far as there is room for them."""
        for lane in lanes:
            of_one = self._destinations.get(lane.organisation, ())
            if lane not in self._known and len(self._known) < MAX_LANES and len(of_one) < MAX_LANES_OF_ONE:
                self._known.add(lane)
                self._put(lane)

    def pick(self, lanes: Lanes) -> Counter[Lane]:
        """Return how many rows to claim from which lanes, as far as there is room; these are known no more.

        They are charged the least a row may cost; `claimed` says what it came to.
        """
        self._unpark(lanes)
        room = _Room(lanes)
        picked: Counter[Lane] = Counter()
        passed: list[Lane] = []
        resting: set[int] = set()
        while picked.total() < lanes.room and (organisation := self._turns.next()) is not None:
            destinations = self._destinations.get(organisation)
            if not destinations or not room.of_organisation(organisation):
                self._turns.rest(organisation)
                resting.add(organisation)
                continue
            lane = Lane(organisation, next(iter(destinations)))
            # The next one's turn comes before it is this one's again.
            del destinations[lane.destination]
            place = lanes.place_of(lane)
            if room.take(lane):
                picked[lane] += 1
                destinations[lane.destination] = None
                self._turns.charge(organisation, RECIPIENT_OCTETS)
            elif lane not in picked and place is not None and not room.at_place(lane):
                self._parked.setdefault(place, {})[lane] = None
            elif lane not in picked:
                passed.append(lane)
        self._forget(picked)
        for lane in passed:
            self._destinations.setdefault(lane.organisation, {})[lane.destination] = None
        for organisation in resting:
            self._rejoin(organisation)
        return picked

    def claimed(self, picked: Mapping[Lane, int], asked: Mapping[Lane, int], jobs: Sequence[Job]) -> None:
        """Hear what became of a pick: charge what was claimed, and know those again that had all they were asked for.

        `asked` may be less than what was picked; a lane it leaves out is known no more.
        """
        rows: Counter[Lane] = Counter()
        for job in jobs:
            rows[lane_of(job)] += len(job.targets)
            self._turns.charge(job.organisation, cost(job))
        for lane, count in picked.items():
            self._turns.charge(lane.organisation, -RECIPIENT_OCTETS * count)
            if rows[lane] == asked.get(lane):
                self.learn([lane])
        for organisation in {lane.organisation for lane in picked}:
            self._rejoin(organisation)

    def _put(self, lane: Lane) -> None:
        self._destinations.setdefault(lane.organisation, {})[lane.destination] = None
        self._turns.add(lane.organisation)

    def _forget(self, picked: Iterable[Lane]) -> None:
        """Know lanes no more; their organisations keep what they have until `claimed`."""
        for lane in picked:
            self._known.discard(lane)
            self._destinations[lane.organisation].pop(lane.destination, None)
            if not self._destinations[lane.organisation]:
                self._turns.rest(lane.organisation)

    def _rejoin(self, organisation: int) -> None:
        """Let an organisation take part that has lanes, and forget one that has none."""
        if self._destinations.get(organisation):
            self._turns.add(organisation)
        else:
            self._destinations.pop(organisation, None)
            self._turns.remove(organisation)

    def _unpark(self, lanes: Lanes) -> None:
        """Let as many lanes of each place take part again as it has room for."""
        for place, parked in list(self._parked.items()):
            room = lanes.place_room(next(iter(parked)))
            for lane in list(parked)[:room]:
                del parked[lane]
                self._put(lane)
            if not parked:
                del self._parked[place]


class _Room:
    """How much room is left as a pick takes it."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._taken: Counter[Lane] = Counter()
        self._organisations: dict[int, int] = {}
        self._places: Counter[str] = Counter()

    def of_organisation(self, organisation: int) -> int:
        """Return how many more rows of an organisation may be taken."""
        return self._organisations.setdefault(organisation, self._lanes.organisation_room(organisation))

    def at_place(self, lane: Lane) -> bool:
        """Return whether the place of a lane takes one more."""
        place = self._lanes.place_of(lane)
        return place is None or self._lanes.place_room(lane) > self._places[place]

    def take(self, lane: Lane) -> bool:
        """Take one row of a lane whose organisation has room, if the lane has."""
        if not self.at_place(lane) or self._lanes.lane_room(lane) <= self._taken[lane]:
            return False
        self._taken[lane] += 1
        self._organisations[lane.organisation] -= 1
        if place := self._lanes.place_of(lane):
            self._places[place] += 1
        return True
