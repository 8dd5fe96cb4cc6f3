"""Claims: brings due rows of the database into the lanes, as far as these have room.

Which lanes have due rows is read in slices of the queue's index, a few every second, and remembered
(`mtad.outbound.ready`); so neither many organisations nor much that is not due yet makes a round long, and the last
organisation is found within seconds. Between slices it claims from those whose turn it is.
"""

from collections.abc import Callable, Mapping, Sequence

from mtad.interfaces import IJournal, IQueue, IWallClock
from mtad.model.job import LANES_VISITED, Job, Lane
from mtad.outbound.lanes import Lanes
from mtad.outbound.lease import Lease
from mtad.outbound.ready import ReadyLanes

SLICES_A_ROUND = 10
CLAIMS_A_SLICE = 10
MOST_CLAIMS = 3


class Claiming:
    """Claims under the `lease` of this moment while `may`, but from no lane that is `closed`.

    What it claimed it hands to `took`; but when the lease has ended by the time of the answer, others have that.
    """

    def __init__(
        self,
        *,
        queue: IQueue,
        lanes: Lanes,
        wall: IWallClock,
        journal: IJournal,
        lease: Callable[[], Lease],
        may: Callable[[], bool],
        closed: Callable[[Lane], bool],
        took: Callable[[Sequence[Job]], None],
    ) -> None:
        self._queue = queue
        self._lanes = lanes
        self._wall = wall
        self._journal = journal
        self._lease = lease
        self._may = may
        self._closed = closed
        self._took = took
        self._ready = ReadyLanes()
        self._after: Lane | None = None
        self._busy = False
        self._round_is_due = False

    @property
    def more(self) -> bool:
        """Whether there is something to claim, as far as is known, and nothing is being claimed."""
        return not self._busy and len(self._ready) > 0

    def learn(self, lanes: Sequence[Lane]) -> None:
        """Know of lanes that have got due rows; one that is closed is learned of again once it is open."""
        self._ready.learn(lane for lane in lanes if not self._closed(lane))

    async def round(self) -> None:
        """Look on through the queue, to its end or some slices far, and claim what there is room for.

        It comes after what is being claimed: where jobs end all the time there is always something, and who else has
        become ready would be found by nobody.
        """
        self._round_is_due = True
        await self.again()

    async def again(self) -> None:
        """Claim what there is room for of what is known."""
        if self._busy:
            return
        self._busy = True
        try:
            await self._claim()
            if self._round_is_due:
                self._round_is_due = False
                await self._look_on()
        finally:
            self._busy = False

    async def _look_on(self) -> None:
        for _ in range(SLICES_A_ROUND):
            if not self._may():
                return
            await self._look()
            await self._claim()
            if self._after is None:
                return

    async def _look(self) -> None:
        ready = await self._queue.ready(self._wall.now(), LANES_VISITED, self._after)
        self._after = ready.after
        self.learn(ready.lanes)

    async def _claim(self) -> None:
        """Claim from those whose turn it is, some times at most: others may have become ready meanwhile."""
        for _ in range(CLAIMS_A_SLICE):
            if not self._may() or not (picked := self._ready.pick(self._lanes)):
                return
            asked = _rounded({lane: count for lane, count in picked.items() if not self._closed(lane)})
            claimed: list[Job] = []
            try:
                for count in sorted(set(asked.values())):
                    lanes = [lane for lane, rows in asked.items() if rows == count]
                    claimed += await self._claim_from(lanes, count)
            finally:
                self._ready.claimed(picked, asked, claimed)

    async def _claim_from(self, lanes: Sequence[Lane], per_lane: int) -> Sequence[Job]:
        lease = self._lease()
        claimed = await self._queue.claim(lease.owner, lanes, per_lane, self._wall.now())
        if lease.ended:
            return ()
        self._took(claimed)
        if claimed:
            self._journal.record("queue.claimed", count=sum(len(job.targets) for job in claimed))
        return claimed


def _rounded(picked: Mapping[Lane, int]) -> dict[Lane, int]:
    """Return rows to ask for: a claim asks for the same of each lane, and few claims have to be enough.

    More than a few different counts become powers of two.
    """
    if len(set(picked.values())) <= MOST_CLAIMS:
        return dict(picked)
    return {lane: 1 << (count.bit_length() - 1) for lane, count in picked.items()}
