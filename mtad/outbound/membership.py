"""Membership: this process' owner number, its lease, and its watch over the others (DESIGN D8).

A node raises its beat every 3 s, and past its lease (`mtad.outbound.lease`) it begins nothing. Another node is dead
when its beat stood still for 15 s of our own monotonic time while all our own beats succeeded: no two clocks are
compared, and when the database is away nobody dies. Who was stopped itself for a while, as all nodes of a machine that
stood still, saw nothing stand still. Who beats at the last moment lives: a takeover is of that beat only.

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
from mtad.outbound.lease import LEASE_SECONDS, Lease
from mtad.outbound.tasks import Tasks, in_time

BEAT_SECONDS = 3.0
DEAD_SECONDS = 15.0
ORPHAN_SECONDS = 10.0
LAST_SECONDS = 1.0
"""How long a stop waits for what the node does for others."""


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

    def observe(self, beats: Mapping[int, int], asked_at: float, heard_at: float) -> dict[int, int]:
        """Return the owners whose beat has stood still for too long, each with that beat.

        It was seen first when it was heard, and last when it was asked for: what that took meanwhile is nobody's
        silence. Beats that fell due while the observer did not look are none that succeeded: it begins anew.
        """
        if asked_at - self.looked_at >= LEASE_SECONDS:
            self.blind()
        self.looked_at = asked_at
        self.seen = {
            owner: self.seen[owner] if owner in self.seen and self.seen[owner][0] == beat else (beat, heard_at)
            for owner, beat in beats.items()
        }
        return {owner: beat for owner, (beat, since) in self.seen.items() if not self._lived(since)}

    def next_death(self, now: float) -> float:
        """Return the seconds until somebody may be dead that was not at the last look; infinite for never."""
        left = (since + DEAD_SECONDS - now for _, since in self.seen.values() if self._lived(since))
        return max(0.0, min(left, default=float("inf")))

    def _lived(self, since: float) -> bool:
        """Whether somebody whose beat is the same since then was not dead at the last look."""
        return self.looked_at - since < DEAD_SECONDS


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
        self._lease: Lease | None = None
        self._last_id = 0
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
        # Others take over from who died as well; mail that waits to be free does not wait for that.
        await in_time(Deferred.fromCoroutine(self._tasks.stop()), LAST_SECONDS, self._clock)
        self._look_in_time(float("inf"))
        node = self._node
        self._resign()
        if node is not None:
            await self._give_up(node)

    async def _give_up(self, node: Node) -> None:
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
        return self._lease is not None and self._lease.good

    def is_owner(self, owner: int) -> bool:
        """Whether this process still is the node of that owner number, as far as it knows."""
        return self._node is not None and self._node.owner == owner

    def lease(self) -> Lease:
        """Return the lease, which is good: what is begun now is begun under it; raises LeaseLost without one."""
        if self._lease is None:
            raise LeaseLost("this process is not a node yet")
        if not self._lease.good:
            raise LeaseLost("the lease of this process ran out")
        return self._lease

    def owner(self) -> int:
        """Return the owner number under a good lease; raises LeaseLost without one."""
        return self.lease().owner

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
            if self._lease is None or not await self._raise_beat(self._lease):
                if not self.running:
                    return
                self._lose()
                # A new row may say at once that it drains.
                lease = await self._join()
                if lease is None:
                    return
                await self._raise_beat(lease)
                self._tell_joined()
            asked_at = self._clock.seconds()
            self._look_around(await self._nodes.beats(), asked_at)
        except Unavailable:
            self._watch.blind()
            raise

    async def _raise_beat(self, lease: Lease) -> bool:
        """Raise the beat and obey the node's row; False when there is none."""
        sent_at = self._wall.boottime()
        standing = await self._nodes.beat(lease.owner, self._last_id, self._stats())
        if standing is Standing.GONE:
            return False
        lease.renew(sent_at)
        self._journal.record("node.beat", lease_seconds=LEASE_SECONDS)
        self._obey(standing, lease.owner)
        return True

    def _obey(self, standing: Standing, owner: int) -> None:
        draining = standing is Standing.DRAINING
        if draining != self._draining:
            self._draining = draining
            self._journal.record("node.draining" if draining else "node.working", owner=owner)
            self._drained(draining)

    def _look_around(self, beats: dict[int, int], asked_at: float) -> None:
        others = {owner: beat for owner, beat in beats.items() if not self.is_owner(owner)}
        now = self._clock.seconds()
        for dead, beat in self._watch.observe(others, asked_at, now).items():
            if dead not in self._taking_over:
                self._taking_over.add(dead)
                self._tasks.start(self._take_over(dead, beat), "take over")
        self._look_in_time(self._watch.next_death(now))

    def _look_in_time(self, seconds: float) -> None:
        """Look when somebody may be dead, if that is before the next beat: mail waits for it."""
        if self._early is not None and self._early.active():
            self._early.cancel()
        self._early = self._clock.callLater(seconds, self.beat_now) if seconds < BEAT_SECONDS else None

    async def _take_over(self, dead: int, beat: int) -> None:
        """Free a dead node's rows: beside the beat, which must not wait for a million of them."""
        try:
            freed = await self._nodes.take_over(dead, beat, self._wall.now())
            if freed is not None:
                self._journal.record("node.taken_over", owner=dead, rows=freed)
        finally:
            self._taking_over.discard(dead)

    async def _join(self) -> Lease | None:
        """Become a node; who was draining when it lost its row goes on with that. None when this ended meanwhile."""
        sent_at = self._wall.boottime()
        node = await self._nodes.join(self._node_name, self._wall.now(), self._draining)
        if not self.running:
            # The stop may not have waited for this: nobody else gives the row up.
            await self._give_up(node)
            return None
        self._node = node
        self._lease = Lease(self._node.owner, sent_at, self._wall.boottime)
        self._last_id = max(self._last_id, self._node.last_id, next_id(self._node.slot, 0, self._wall.now()))
        self._journal.record("node.joined", owner=self._node.owner, slot=self._node.slot)
        return self._lease

    def _tell_joined(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def _lose(self) -> None:
        if self._node is None:
            return
        self._journal.record("node.lease_lost", owner=self._node.owner, reason="another node took over")
        self._resign()
        self._watch.blind()
        self._expelled()

    def _resign(self) -> None:
        """Be no node, and let all that was begun as one know."""
        self._node = None
        if self._lease is not None:
            self._lease.end()
            self._lease = None

    async def _free_orphans(self) -> None:
        if self.good:
            freed = await self._nodes.free_orphans(self._wall.now())
            if freed:
                self._journal.record("node.orphans_freed", rows=freed)
