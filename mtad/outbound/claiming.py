"""Claims: brings due rows of the database into the lanes, as far as these have room.

Which lanes have due rows is read in slices of the queue's index, a few every second, and remembered
(`mtad.outbound.ready`); so neither many organisations nor much that is not due yet makes a round long, and the last
organisation is found within seconds. Between slices it claims from those whose turn it is.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from mtad.interfaces import IJournal, IQueue, IWallClock
from mtad.model.job import LANES_VISITED, Job, Lane
from mtad.outbound.lanes import Lanes, cost
from mtad.outbound.ready import ReadyLanes

SLICES_A_ROUND = 10
CLAIMS_A_SLICE = 10


class Claiming:
    """Claims for the node `owner` while `may`, and hands what it claimed to `took`."""

    def __init__(
        self,
        *,
        queue: IQueue,
        lanes: Lanes,
        wall: IWallClock,
        journal: IJournal,
        owner: Callable[[], int],
        may: Callable[[], bool],
        took: Callable[[Sequence[Job]], None],
    ) -> None:
        self._queue = queue
        self._lanes = lanes
        self._wall = wall
        self._journal = journal
        self._owner = owner
        self._may = may
        self._took = took
        self._ready = ReadyLanes()
        self._after: Lane | None = None
        self._busy = False

    @property
    def more(self) -> bool:
        """Whether there is something to claim, as far as is known, and nothing is being claimed."""
        return not self._busy and len(self._ready) > 0

    def learn(self, lanes: Sequence[Lane]) -> None:
        """Know of lanes that have got due rows."""
        self._ready.learn(lanes)

    async def round(self) -> None:
        """Look on through the queue, to its end or some slices far, and claim what there is room for."""
        if self._busy:
            return
        self._busy = True
        try:
            for _ in range(SLICES_A_ROUND):
                if not self._may():
                    return
                await self._look()
                await self._claim()
                if self._after is None:
                    return
        finally:
            self._busy = False

    async def again(self) -> None:
        """Claim what there is room for of what is known."""
        if self._busy:
            return
        self._busy = True
        try:
            await self._claim()
        finally:
            self._busy = False

    async def _look(self) -> None:
        ready = await self._queue.ready(self._wall.now(), LANES_VISITED, self._after)
        self._after = ready.after
        self._ready.learn(ready.lanes)

    async def _claim(self) -> None:
        """Claim from those whose turn it is, some times at most: others may have become ready meanwhile."""
        for _ in range(CLAIMS_A_SLICE):
            if not self._may() or not (lanes := self._ready.pick(self._lanes)):
                return
            await self._claim_from(lanes)

    async def _claim_from(self, lanes: Sequence[Lane]) -> None:
        per_lane = self._per_lane(lanes)
        claimed = await self._queue.claim(self._owner(), lanes, per_lane, self._wall.now())
        self._took(claimed)
        rows = dict.fromkeys(lanes, 0)
        for job in claimed:
            rows[Lane(job.organisation, job.destination)] += len(job.targets)
            self._ready.charge(job.organisation, cost(job))
        # A lane that had fewer is empty; one that had none has been charged for the trip.
        self._ready.learn([lane for lane, count in rows.items() if count == per_lane])
        if claimed:
            self._journal.record("queue.claimed", count=sum(rows.values()))

    def _per_lane(self, lanes: Sequence[Lane]) -> int:
        """Return how many rows may be taken of each: no organisation and no place gets more than it has room for."""
        room = self._lanes
        of_organisation = Counter(lane.organisation for lane in lanes)
        of_place = Counter(map(room.place_of, lanes))
        rooms = [room.organisation_room(organisation) // count for organisation, count in of_organisation.items()]
        rooms += [room.place_room(lane) // of_place[place] for lane in lanes if (place := room.place_of(lane))]
        return max(1, min(room.room // len(lanes), *map(room.lane_room, lanes), *rooms))
