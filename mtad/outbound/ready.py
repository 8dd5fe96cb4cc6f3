"""The lanes that have due rows, as far as this process knows, and whose turn it is to be claimed from.

Organisations take turns by deficit round robin, and in each its destinations one after the other. What is known is
brought in slices by who reads the database, and forgotten once a claim found less than it asked for. Lanes whose place
takes no more jobs are put aside, so that fifty thousand that wait for the same server cost the others nothing.
"""

from collections import Counter
from collections.abc import Iterable

from mtad.model.job import Lane
from mtad.outbound.lanes import QUANTUM_OCTETS, RECIPIENT_OCTETS, Lanes
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

    def charge(self, organisation: int, octets: int) -> None:
        """Take what was claimed from an organisation's share."""
        self._turns.charge(organisation, octets)

    def pick(self, lanes: Lanes) -> list[Lane]:
        """Return lanes to claim from, each known no more: as many as have room for one job at least."""
        self._unpark(lanes)
        picked: list[Lane] = []
        passed: list[Lane] = []
        rooms: dict[int, int] = {}
        at_place: Counter[str | None] = Counter()
        while len(picked) < lanes.room and (organisation := self._turns.next()) is not None:
            room = rooms.setdefault(organisation, lanes.organisation_room(organisation))
            if not room:
                # Nobody else is kept from a turn by who may not use it.
                self._turns.remove(organisation)
                continue
            lane = self._take(organisation)
            place = lanes.place_of(lane)
            if place is not None and lanes.place_room(lane) <= at_place[place]:
                self._parked.setdefault(place, {})[lane] = None
            elif lanes.lane_room(lane):
                picked.append(lane)
                rooms[organisation] -= 1
                at_place[place] += 1
                # At least so much; the rest is charged when it is known.
                self._turns.charge(organisation, RECIPIENT_OCTETS)
            else:
                passed.append(lane)
        for lane in passed:
            self._put(lane)
        for organisation in rooms:
            if organisation in self._destinations:
                self._turns.add(organisation)
        self._known.difference_update(picked)
        return picked

    def _put(self, lane: Lane) -> None:
        self._destinations.setdefault(lane.organisation, {})[lane.destination] = None
        self._turns.add(lane.organisation)

    def _take(self, organisation: int) -> Lane:
        destinations = self._destinations[organisation]
        destination = next(iter(destinations))
        del destinations[destination]
        if not destinations:
            del self._destinations[organisation]
            self._turns.remove(organisation)
        return Lane(organisation, destination)

    def _unpark(self, lanes: Lanes) -> None:
        """Let as many lanes of each place take part again as it has room for."""
        for place, parked in list(self._parked.items()):
            room = lanes.place_room(next(iter(parked)))
            for lane in list(parked)[:room]:
                del parked[lane]
                self._put(lane)
            if not parked:
                del self._parked[place]
