"""The twins of the queue, its care, membership and timeline: PostgreSQL as one process sees it.

`MemoryDatabase` is that process' connections; several of them share one `MemoryStore`. It can be made to fail as a
database fails: be away, be slow, commit and then lose the answer. As the real adapter does, it repeats accepts (for
30 s) and settles (for ever) over an outage, and refuses everything else at once.

Without an outage or a delay every call is done when it returns.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from mtad.interfaces import IDependency, IHolds, INodes, IQueue, IQueueCare, ISpool, ITimeline
from mtad.model.content import Content
from mtad.model.errors import MtadError, NoAnswer, NoRoom, Unavailable
from mtad.model.event import Fact, Happening
from mtad.model.hold import Hold
from mtad.model.job import Acceptance, Job, Lane, Node, Ready, Row, Settlement, Status, Waiting
from mtad.model.key import key_number
from mtad.model.process import Standing
from mtad.testing.spool import MemorySpool
from mtad.testing.store import MemoryStore

T = TypeVar("T")
ACCEPT_SECONDS = 30.0


class _Write:
    """A write that waits for its commit; `undo` is what to do when nobody is told that it was done."""

    def __init__(self, work: Callable[[], None], undo: Callable[[], None] | None) -> None:
        self.work = work
        self.undo = undo
        self.done: Deferred[None] = Deferred()
        self.timer: IDelayedCall | None = None
        self.given_up = False
        self.tried = False

    def finish(self, trouble: Exception | None = None) -> None:
        """Tell who waits, once."""
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        if not self.done.called:
            if trouble is None:
                self.done.callback(None)
            else:
                self.done.errback(trouble)


@implementer(IDependency)
class MemoryDatabase:
    """One process' way to a store: the ports `queue`, `holds`, `nodes` and `timeline`, and the switches to break it.

    Large contents come back in `spool`. While it is `full` no message is accepted.
    """

    def __init__(self, store: MemoryStore, clock: IReactorTime, spool: ISpool | None = None) -> None:
        self.store = store
        self.spool = MemorySpool() if spool is None else spool
        self.reachable = True
        self.full = False
        self._stuck = False
        self.queue = MemoryQueue(self)
        self.nodes = MemoryNodes(self)
        self.holds = MemoryHolds(self)
        self.timeline = MemoryTimeline(self)
        self._clock = clock
        self._delay_seconds = 0.0
        self._losing: bool | None = None
        self._waiting: deque[_Write] = deque()
        self._undoing: list[Callable[[], None]] = []
        self._stopped = False

    def outage(self) -> None:
        """Break all connections, and let none be made from now on."""
        self.reachable = False

    def restore(self) -> None:
        """End an outage: forget what was given up, then write what waits."""
        self.reachable = True
        self._flush()

    def stick(self) -> None:
        """Let writes wait from now on, as behind a lock or a disk, while all else is answered; `flow` ends it."""
        self._stuck = True

    def flow(self) -> None:
        """Write what waits, and what comes."""
        self._stuck = False
        self._flush()

    def lose_answer(self, outage: bool = False) -> None:
        """Let the next write be committed and its connection break before the answer; with `outage`, stay away."""
        self._losing = outage

    def seconds(self) -> float:
        """Return the time of the process' clock."""
        return self._clock.seconds()

    @property
    def losing(self) -> bool:
        """Whether an answer is still to be lost."""
        return self._losing is not None

    def delay(self, seconds: float) -> None:
        """Let every call from now on take that long; 0 ends it."""
        self._delay_seconds = seconds

    def stop(self) -> None:
        """Fail what waits and all that comes, as at the end of a process."""
        self._stopped = True
        while self._waiting:
            self._waiting.popleft().finish(NoAnswer("postgres", "stopped"))

    async def check(self) -> None:
        """Answer when reachable (IDependency)."""
        await self.read(lambda: None)

    async def read(self, work: Callable[[], T]) -> T:
        """Run a transaction that is not repeated: Unavailable during an outage."""
        if self._delay_seconds:
            await deferLater(self._clock, self._delay_seconds)
        if not self.reachable or self._stopped:
            raise Unavailable("postgres", "no connection")
        return work()

    async def write(
        self,
        work: Callable[[], None],
        undo: Callable[[], None] | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        """Run a transaction that is repeated until it is known to be committed, or for `timeout_seconds`."""
        if self._stopped:
            raise NoAnswer("postgres", "stopped")
        write = _Write(work, undo)
        if timeout_seconds is not None:
            write.timer = self._clock.callLater(timeout_seconds, self._give_up, write, timeout_seconds)
        if self._delay_seconds:
            self._clock.callLater(self._delay_seconds, self._begin, write)
        else:
            self._begin(write)
        await write.done

    def _begin(self, write: _Write) -> None:
        self._waiting.append(write)
        self._flush()

    def _give_up(self, write: _Write, after_seconds: float) -> None:
        write.given_up = True
        self._flush()
        write.finish(NoAnswer("postgres", f"no answer for {after_seconds:g} s"))

    def _flush(self) -> None:
        """Write what waits, as long as the store can be reached; first of all forget."""
        self._drop_given_up()
        while self.reachable and not self._stuck and not self._stopped and (self._undoing or self._waiting):
            while self._undoing:
                self._undoing.pop(0)()
            if self._waiting:
                self._commit(self._waiting.popleft())

    def _drop_given_up(self) -> None:
        for write in [write for write in self._waiting if write.given_up]:
            self._waiting.remove(write)
            self._drop(write)

    def _drop(self, write: _Write) -> None:
        """Have a write undone that was tried before."""
        if write.tried and write.undo is not None:
            self._undoing.append(write.undo)

    def _commit(self, write: _Write) -> None:
        try:
            write.work()
        except MtadError as trouble:
            self._drop(write)
            write.finish(trouble)
            return
        write.tried = True
        if self._losing is None:
            write.finish()
            return
        self._waiting.appendleft(write)
        self.reachable = not self._losing
        self._losing = None


@implementer(IQueue, IQueueCare)
class MemoryQueue:
    """The queue over a MemoryDatabase."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._store = database.store

    async def accept(self, acceptance: Acceptance, owner: int) -> None:
        """See IQueue."""
        if self._database.full:
            raise NoRoom("postgres", "the disk is full")
        since = self._database.seconds()
        await self._database.write(
            lambda: self._store.accept(acceptance, owner),
            lambda: self._store.forget(acceptance, self._database.seconds() - since),
            ACCEPT_SECONDS,
        )

    async def ready(self, now: float, limit: int, after: Lane | None = None) -> Ready:
        """See IQueue."""
        return await self._database.read(lambda: self._store.ready(now, limit, after))

    async def claim(self, owner: int, lanes: Sequence[Lane], per_lane: int, now: float) -> Sequence[Job]:
        """See IQueue."""
        return await self._database.read(lambda: self._store.claim(owner, lanes, per_lane, now))

    async def content(self, content_id: int) -> Content:
        """See IQueue."""
        gathering = self._database.spool.gather()
        gathering.add(await self._database.read(lambda: self._store.contents[content_id]))
        return gathering.content()

    async def settle(self, settlements: Sequence[Settlement], owner: int, now: float) -> None:
        """See IQueue."""
        await self._database.write(lambda: self._store.settle(settlements, owner, now))

    async def release(self, rows: Sequence[Row], owner: int, now: float) -> None:
        """See IQueue."""
        await self._database.read(lambda: self._store.release(rows, owner, now))

    async def owned(self, owner: int) -> Sequence[Row]:
        """See IQueueCare."""
        return await self._database.read(lambda: self._store.owned(owner))

    async def sweep(self, before: float) -> int:
        """See IQueueCare."""
        return await self._database.read(lambda: self._store.sweep(before))

    async def sizes(self) -> dict[Status, int]:
        """See IQueueCare."""
        return await self._database.read(self._store.sizes)

    async def waiting(self, message: int) -> Waiting | None:
        """See IQueueCare."""
        return await self._database.read(lambda: self._store.waiting(message))

    async def expire_quarantined(self, before: float, now: float, by: str) -> int:
        """See IQueueCare."""
        return await self._database.read(lambda: self._store.expire_quarantined(before, now, by))

    async def seize(self, message: int, owner: int, rows: Sequence[int] = ()) -> Job | None:
        """See IQueueCare."""
        return await self._database.read(lambda: self._store.seize(message, owner, rows))


@implementer(IHolds)
class MemoryHolds:
    """Holds over a MemoryDatabase. While it is `silent` nobody is answered which stand."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._table = database.store.holds
        self.silent = False

    async def active(self) -> Sequence[Hold]:
        """See IHolds."""
        if self.silent:
            await Deferred()
        return await self._database.read(self._table.active)

    async def place(self, hold: Hold) -> int:
        """See IHolds."""
        return await self._database.read(lambda: self._table.place(hold))

    async def release(self, hold: int, now: float, by: str) -> bool:
        """See IHolds."""
        return await self._database.read(lambda: self._table.release(hold, now, by))

    async def end_expired(self, now: float) -> None:
        """See IHolds."""
        await self._database.read(lambda: self._table.end_expired(now))

    async def free(self, now: float) -> int:
        """See IHolds."""
        return await self._database.read(lambda: self._table.free(now))


@implementer(INodes)
class MemoryNodes:
    """Membership over a MemoryDatabase."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._store = database.store

    async def join(self, name: str, now: float, draining: bool = False) -> Node:
        """See INodes."""
        return await self._database.read(lambda: self._store.join(name, draining))

    async def beat(self, owner: int, last_id: int, stats: dict[str, Fact]) -> Standing:
        """See INodes."""
        return await self._database.read(lambda: self._store.beat(owner, last_id, stats))

    async def beats(self) -> dict[int, int]:
        """See INodes."""
        return await self._database.read(lambda: {owner: node.beat for owner, node in self._store.nodes.items()})

    async def take_over(self, owner: int, beat: int, now: float) -> int | None:
        """See INodes."""
        return await self._database.read(lambda: self._store.take_over(owner, beat, now))

    async def free_orphans(self, now: float) -> int:
        """See INodes."""
        return await self._database.read(lambda: self._store.free_orphans(now))

    async def leave(self, owner: int, now: float, last_id: int | None = None) -> int:
        """See INodes."""
        return await self._database.read(lambda: self._store.leave(owner, now, last_id))


@implementer(ITimeline)
class MemoryTimeline:
    """The timeline over a MemoryDatabase; it has no partitions, only their effect."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._store = database.store

    async def story(self, message: int) -> Sequence[Happening]:
        """See ITimeline."""
        return await self._database.read(lambda: self._store.story(message))

    async def search(self, key: str, limit: int, organisation: int | None = None) -> Sequence[int]:
        """See ITimeline."""
        return await self._database.read(lambda: self._store.search(key_number(key), limit, organisation))

    async def maintain(self, now: float, keep_seconds: float) -> None:
        """See ITimeline."""
        await self._database.read(lambda: self._store.drop_before(now - keep_seconds))
