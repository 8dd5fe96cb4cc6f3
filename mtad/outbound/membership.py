"""Membership: this process' owner number, its lease, and its watch over the others (DESIGN D8).

A node raises its beat every 3 s. Its lease is good for 10 s after it *sent* its last successful beat, measured on the
boot clock: past that it begins nothing. Another node is dead when its beat stood still for 15 s of our own monotonic
time while all our own beats succeeded: no two clocks are compared, and when the database is away nobody dies. Who was
stopped itself for a while, as all nodes of a machine that stood still, saw nothing stand still.

A node's row also says whether it drains; that is heard with each beat, the next of which can be had at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mtad.interfaces import IJournal, INodes, IWallClock
from mtad.model.errors import LeaseLost, Unavailable
from mtad.model.event import Fact
from mtad.model.identity import next_id
from mtad.model.job import Node
from mtad.model.process import Standing
from mtad.outbound.tasks import Tasks

BEAT_SECONDS = 3.0
LEASE_SECONDS = 10.0
DEAD_SECONDS = 15.0
ORPHAN_SECONDS = 10.0


@dataclass
class Watch:
    """Tells which nodes are dead from what one observer sees; times are the observer's monotonic seconds.

    `seen` is each one's beat, and since when it is that.
    """

    seen: dict[int, tuple[int, float]] = field(default_factory=dict)
    looked_at: float = float("-inf")

    def blind(self) -> None:
        """Forget all: an observer whose own beat failed knows nothing of the others."""
        self.seen.clear()

    def observe(self, beats: Mapping[int, int], now: float) -> list[int]:
        """Return the owners whose beat has stood still for too long.

        Beats that fell due while the observer did not look are none that succeeded: it begins anew.
        """
        if now - self.looked_at >= LEASE_SECONDS:
            self.blind()
        self.looked_at = now
        self.seen = {
            owner: self.seen[owner] if owner in self.seen and self.seen[owner][0] == beat else (beat, now)
            for owner, beat in beats.items()
        }
        return [owner for owner, (_, since) in self.seen.items() if now - since >= DEAD_SECONDS]

    def next_death(self, now: float) -> float:
        """Return the seconds until somebody is dead that is seen alive, if no beat moves; infinite for never."""
        left = (since + DEAD_SECONDS - now for _, since in self.seen.values())
        return min((seconds for seconds in left if seconds > 0), default=float("inf"))


class Membership(Service):
    """The node this process is. `stats` tells what the node's row shows.

    `expelled` is called when it lost its row, `drained` when it is to drain, and when it is no more.
    """

    name = "membership"

    def __init__(
        self,
        *,
        nodes: INodes,
        clock: IReactorTime,
        wall: IWallClock,
        journal: IJournal,
        node_name: str,
        stats: Callable[[], dict[str, Fact]],
        expelled: Callable[[], None],
        drained: Callable[[bool], None] = lambda on: None,
    ) -> None:
        self._nodes = nodes
        self._clock = clock
        self._wall = wall
        self._journal = journal
        self._node_name = node_name
        self._stats = stats
        self._expelled = expelled
        self._drained = drained
        self._draining = False
        self._beating = False
        self._beat_again = False
        self._watch = Watch()
        self._taking_over: set[int] = set()
        self._early: IDelayedCall | None = None
        self._tasks = Tasks(clock, journal)
        self._node: Node | None = None
        self._last_id = 0
        self._good_until = float("-inf")
        self._waiting: list[Deferred[None]] = []

    def startService(self) -> None:
        """Join, and keep beating."""
        super().startService()
        self._tasks.every(BEAT_SECONDS, self._beat, "beat")
        self._tasks.every(ORPHAN_SECONDS, self._free_orphans, "orphans")

    def stopService(self) -> Deferred[None]:
        """Give up the membership: rows still owned are free at once."""
        super().stopService()
        return Deferred.fromCoroutine(self._leave())

    async def _leave(self) -> None:
        await self._tasks.stop()
        self._look_in_time(float("inf"))
        node, self._node = self._node, None
        self._good_until = float("-inf")
        if node is not None:
            freed = await self._nodes.leave(node.owner, self._wall.now())
            self._journal.record("node.left", owner=node.owner, rows=freed)

    def first_joined(self) -> Deferred[None]:
        """Fire once this process has been a node; at once when it has."""
        waiter: Deferred[None] = Deferred()
        if self._last_id:
            waiter.callback(None)
        else:
            self._waiting.append(waiter)
        return waiter

    def beat_now(self) -> None:
        """Beat before it is time: the node's row says something new."""
        if self.running:
            self._tasks.start(self._beat(), "beat")

    @property
    def good(self) -> bool:
        """Whether the lease is good this moment."""
        return self._node is not None and self._wall.boottime() < self._good_until

    def is_owner(self, owner: int) -> bool:
        """Whether this process still is the node of that owner number, as far as it knows."""
        return self._node is not None and self._node.owner == owner

    def owner(self) -> int:
        """Return the owner number under a good lease; raises LeaseLost without one."""
        if self._node is None:
            raise LeaseLost("this process is not a node yet")
        if not self.good:
            raise LeaseLost("the lease of this process ran out")
        return self._node.owner

    def next_id(self) -> int:
        """Return an id never issued before; raises LeaseLost before the first join."""
        if self._node is None:
            raise LeaseLost("this process is not a node yet")
        self._last_id = next_id(self._node.slot, self._last_id, self._wall.now())
        return self._last_id

    async def _beat(self) -> None:
        """Beat, and once more when that was asked for meanwhile: never two at once, which could both join."""
        self._beat_again = True
        if self._beating:
            return
        self._beating = True
        try:
            while self._beat_again:
                self._beat_again = False
                await self._beat_once()
        finally:
            self._beating = False

    async def _beat_once(self) -> None:
        try:
            if self._node is None or not await self._raise_beat(self._node.owner):
                self._lose()
                # A new row may say at once that it drains.
                await self._raise_beat(await self._join())
                self._tell_joined()
            self._look_around(await self._nodes.beats())
        except Unavailable:
            self._watch.blind()
            raise

    async def _raise_beat(self, owner: int) -> bool:
        """Raise the beat and obey the node's row; False when there is none."""
        sent = self._wall.boottime()
        standing = await self._nodes.beat(owner, self._last_id, self._stats())
        if standing is Standing.GONE:
            return False
        self._good_until = sent + LEASE_SECONDS
        self._journal.record("node.beat", lease_seconds=LEASE_SECONDS)
        self._obey(standing, owner)
        return True

    def _obey(self, standing: Standing, owner: int) -> None:
        draining = standing is Standing.DRAINING
        if draining != self._draining:
            self._draining = draining
            self._journal.record("node.draining" if draining else "node.working", owner=owner)
            self._drained(draining)

    def _look_around(self, beats: dict[int, int]) -> None:
        others = {owner: beat for owner, beat in beats.items() if self._node is None or owner != self._node.owner}
        now = self._clock.seconds()
        for dead in self._watch.observe(others, now):
            if dead not in self._taking_over:
                self._taking_over.add(dead)
                self._tasks.start(self._take_over(dead), "take over")
        self._look_in_time(self._watch.next_death(now))

    def _look_in_time(self, seconds: float) -> None:
        """Look when somebody may be dead, if that is before the next beat: mail waits for it."""
        if self._early is not None and self._early.active():
            self._early.cancel()
        self._early = self._clock.callLater(seconds, self.beat_now) if seconds < BEAT_SECONDS else None

    async def _take_over(self, dead: int) -> None:
        """Free a dead node's rows: beside the beat, which must not wait for a million of them."""
        try:
            freed = await self._nodes.take_over(dead, self._wall.now())
            self._journal.record("node.taken_over", owner=dead, rows=freed)
        finally:
            self._taking_over.discard(dead)

    async def _join(self) -> int:
        """Become a node; return its owner number."""
        sent = self._wall.boottime()
        self._node = await self._nodes.join(self._node_name, self._wall.now())
        self._good_until = sent + LEASE_SECONDS
        self._last_id = max(self._last_id, self._node.last_id, next_id(self._node.slot, 0, self._wall.now()))
        self._journal.record("node.joined", owner=self._node.owner, slot=self._node.slot)
        return self._node.owner

    def _tell_joined(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def _lose(self) -> None:
        if self._node is None:
            return
        self._journal.record("node.lease_lost", owner=self._node.owner, reason="another node took over")
        self._node = None
        self._good_until = float("-inf")
        self._watch.blind()
        self._expelled()

    async def _free_orphans(self) -> None:
        if self.good:
            freed = await self._nodes.free_orphans(self._wall.now())
            if freed:
                self._journal.record("node.orphans_freed", rows=freed)
