"""Three processes over one store, of memory or of PostgreSQL, each with its own way there that a test can break.

The same words for both, and the same rule: what can end ends before `wait` returns, what cannot goes on waiting.
"""

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor, threads  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure

from mtad.adapters.postgres.holds import PostgresHolds
from mtad.adapters.postgres.nodes import PostgresNodes
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.queue import PostgresQueue
from mtad.adapters.postgres.writer import Writer
from mtad.testing.queue import MemoryDatabase
from mtad.testing.spool import MemorySpool
from mtad.testing.store import MemoryStore
from tests.contract.people import MemoryPeople, PostgresPeople
from tests.contract.processes import EMPTY, LosingGate

PROCESSES = 3
_GLANCE_SECONDS = 0.002
_PAUSE_SECONDS = 0.05
_CONNECT_SECONDS = 60.0
_FOUND = """
select message, null::bigint, n, status, owner, claim from message_queue
union all select id, content_id, null, null, null, null from messages
union all select null, content_id, null, null, null, null from message_content
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What the tables hold: of rows their status, owner and claim; ids of messages, of contents, of those carried."""

    rows: dict[tuple[int, int], tuple[str, int | None, int]]
    messages: frozenset[int]
    contents: frozenset[int]
    carried: frozenset[int]


@dataclass(eq=False)
class Begun:
    """Something a process was asked to do."""

    results: list[Any] = field(default_factory=list)
    over: "Deferred[None]" = field(default_factory=Deferred)

    @classmethod
    def of(cls, coroutine: Awaitable[Any]) -> "Begun":
        """Begin it."""
        begun = cls()
        Deferred.fromCoroutine(coroutine).addBoth(begun.results.append).addCallback(begun.over.callback)
        return begun

    @property
    def ended(self) -> bool:
        """Whether it is known what became of it."""
        return bool(self.results)

    @property
    def trouble(self) -> Exception | None:
        """What it ended with instead of a result."""
        return self.results[0].value if isinstance(self.results[0], Failure) else None

    def result(self) -> Any:
        """Return what it returned; raise what it raised."""
        assert self.results, "this should not have to wait"
        if isinstance(self.results[0], Failure):
            self.results[0].raiseException()
        return self.results[0]


Asked = tuple[Awaitable[Any], int | None]
"""What to do, and the number of the process whose way to the store it goes; None when it goes its own."""


class Fleet(ABC):
    """The processes by number. `queue` and `nodes` are the ports of each, `people` and `holds` go past all trouble, and
    so does `care`, which only sweeps.

    Membership goes its own way, past all trouble: who has none does not ask.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.away = [False] * PROCESSES
        self.queue: list[Any] = []
        self.nodes: list[Any] = []
        self.care: Any = None
        self.people: Any = None
        self.holds: Any = None

    @abstractmethod
    def begin_all(self, asked: Sequence[Asked]) -> list[Begun]:
        """Begin things together; return once each has ended, or cannot before its process has its way again."""

    def call(self, coroutine: Awaitable[Any], number: int | None = None) -> Begun:
        """Begin one thing."""
        return self.begin_all([(coroutine, number)])[0]

    def do(self, coroutine: Awaitable[Any], number: int | None = None) -> Any:
        """Return the result of what can end at once; raise what it raises."""
        return self.call(coroutine, number).result()

    def together(self, asked: Sequence[Asked]) -> list[Any]:
        """Return the results of what can end at once, begun together; raise what one raises."""
        return [begun.result() for begun in self.begin_all(asked)]

    @abstractmethod
    def begin(self) -> None:
        """Have three new processes, all with their way open, over empty tables."""

    @abstractmethod
    def crash(self, number: int) -> None:
        """End a process without a word and have another in its place, which has nothing of it."""

    @abstractmethod
    def outage(self, number: int) -> None:
        """Break a process' way to the store until `restore`."""

    @abstractmethod
    def restore(self, number: int, waiting: Iterable[Begun] = ()) -> None:
        """Open it again, and return once what waits for that has ended."""

    @abstractmethod
    def lose_answer(self, number: int, outage: bool) -> None:
        """Let the next write of a process be done and its connection break before the answer."""

    @abstractmethod
    def advance(self, seconds: float) -> None:
        """Let time pass for all that waits."""

    @abstractmethod
    def found(self) -> Found:
        """Return what the tables hold."""

    @abstractmethod
    def forget_node(self, owner: int, beat: int) -> None:
        """Delete the row of a node that has that beat and nothing else, as a takeover does that is cut short."""


class MemoryFleet(Fleet):
    """Over a MemoryStore: all that can end has ended when a call returns."""

    def begin(self) -> None:
        """See Fleet."""
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.away = [False] * PROCESSES
        self.databases = [MemoryDatabase(self.store, self.clock, MemorySpool()) for _ in range(PROCESSES)]
        direct = MemoryDatabase(self.store, self.clock)
        self.queue = [database.queue for database in self.databases]
        self.care, self.holds, self.people = direct.queue, direct.holds, MemoryPeople(self.store)
        self.nodes = [direct.nodes] * PROCESSES

    def begin_all(self, asked: Sequence[Asked]) -> list[Begun]:
        """See Fleet."""
        begun = [Begun.of(coroutine) for coroutine, _ in asked]
        self.away = [not database.reachable for database in self.databases]
        return begun

    def crash(self, number: int) -> None:
        """See Fleet."""
        self.databases[number].stop()
        self.databases[number] = MemoryDatabase(self.store, self.clock, MemorySpool())
        self.queue[number] = self.databases[number].queue
        self.away[number] = False

    def outage(self, number: int) -> None:
        """See Fleet."""
        self.databases[number].outage()
        self.away[number] = True

    def restore(self, number: int, waiting: Iterable[Begun] = ()) -> None:
        """See Fleet."""
        self.away[number] = False
        self.databases[number].restore()

    def lose_answer(self, number: int, outage: bool) -> None:
        """See Fleet."""
        self.databases[number].lose_answer(outage)

    def advance(self, seconds: float) -> None:
        """See Fleet."""
        self.clock.advance(seconds)

    def found(self) -> Found:
        """See Fleet."""
        store = self.store
        return Found(
            {key: (row.status.value, row.owner, row.claim) for key, row in store.rows.items()},
            frozenset(store.messages),
            frozenset(store.contents),
            frozenset(message.content_id for message in store.messages.values()),
        )

    def forget_node(self, owner: int, beat: int) -> None:
        """See Fleet."""
        if owner in self.store.nodes and self.store.nodes[owner].beat == beat:
            del self.store.nodes[owner]


class _Gate(LosingGate):
    """A gate that says whether it is shut."""

    is_shut = True

    def open(self) -> None:
        self.is_shut = False
        super().open()

    async def shut(self) -> None:
        self.is_shut = True
        await super().shut()


class PostgresFleet(Fleet):
    """Over PostgreSQL, asked from a thread beside the reactor's: each way goes through a gate of its own.

    `open` and `close` belong to the reactor's side, all else to the other.
    """

    async def open(self, parameters: dict[str, str]) -> None:
        """Connect."""
        # Pauses between attempts to connect are let pass by a clock of their own: `advance` is not about them.
        self._pauses = Clock()
        self._home = Path(tempfile.mkdtemp(prefix="mtad-fleet-"))
        self._pool = Pool(reactor, parameters, 2)
        await self._pool.start()
        self._writers: list[Writer] = []
        self._gates: list[_Gate] = []
        for number in range(PROCESSES):
            directory = self._home / str(number)
            directory.mkdir()
            self._gates.append(_Gate(parameters, directory))
            self._gates[number].open()
            self._writers.append(None)
            self.queue.append(None)
            await self._start(number)
        self.nodes = [PostgresNodes(self._pool)] * PROCESSES
        # A sweep goes by the pool.
        self.care = PostgresQueue(Writer(reactor, parameters, Random(0)), self._pool, MemorySpool())
        self.holds = PostgresHolds(self._pool)
        self.people = PostgresPeople(self._pool)

    async def close(self) -> None:
        """Disconnect."""
        for writer, gate in zip(self._writers, self._gates, strict=True):
            stopped = Deferred.fromCoroutine(writer.stop(grace_seconds=0))
            self._pauses.advance(0)
            await stopped
            await gate.shut()
        await self._pool.stop()
        shutil.rmtree(self._home)

    def begin(self) -> None:
        """See Fleet."""
        for number in range(PROCESSES):
            if self.away[number] or self._gates[number].losing or self._writers[number].recovery.due:
                self.crash(number)
        self._ask(EMPTY)

    def begin_all(self, asked: Sequence[Asked]) -> list[Begun]:
        """See Fleet."""
        begun: list[Begun] = []

        async def work() -> None:
            begun.extend(Begun.of(coroutine) for coroutine, _ in asked)
            for each, (_, number) in zip(begun, asked, strict=True):
                await self._ended(each, number)

        self._run(work())
        return begun

    async def _ended(self, begun: Begun, number: int | None) -> None:
        """Wait until something ended, or its process has no way to the store any more."""
        if number is None:
            await begun.over
        while not begun.ended:
            self.away[number] = self._gates[number].is_shut
            if self.away[number]:
                return
            await self._glance()

    async def _glance(self) -> None:
        """Let a moment pass, and those connect who can."""
        for writer, gate in zip(self._writers, self._gates, strict=True):
            if not gate.is_shut and not writer.reachable:
                self._pauses.advance(_PAUSE_SECONDS)
        await deferLater(reactor, _GLANCE_SECONDS)

    def crash(self, number: int) -> None:
        """See Fleet."""
        self._run(self._crash(number))

    async def _crash(self, number: int) -> None:
        gate = self._gates[number]
        gate.losing = False
        await gate.shut()
        stopped = Deferred.fromCoroutine(self._writers[number].stop(grace_seconds=0))
        self._pauses.advance(0)
        await stopped
        gate.open()
        self.away[number] = False
        await self._start(number)

    async def _start(self, number: int) -> None:
        writer = self._writers[number] = Writer(
            reactor, self._gates[number].parameters, Random(number), clock=self._pauses,
            connect_timeout_seconds=_CONNECT_SECONDS,
        )  # fmt: skip
        self.queue[number] = PostgresQueue(writer, self._pool, MemorySpool(), clock=self.clock)
        await writer.start()

    def outage(self, number: int) -> None:
        """See Fleet."""
        self.away[number] = True
        self._run(self._shut(number))

    async def _shut(self, number: int) -> None:
        await self._gates[number].shut()
        while self._writers[number].reachable:
            await self._glance()

    def restore(self, number: int, waiting: Iterable[Begun] = ()) -> None:
        """See Fleet."""
        self.away[number] = False
        self._run(self._restore(number, list(waiting)))

    async def _restore(self, number: int, waiting: Iterable[Begun]) -> None:
        self._gates[number].open()
        while not self._writers[number].reachable:
            await self._glance()
        for begun in waiting:
            await self._ended(begun, number)

    def lose_answer(self, number: int, outage: bool) -> None:
        """See Fleet."""
        threads.blockingCallFromThread(reactor, self._gates[number].lose, outage)

    def advance(self, seconds: float) -> None:
        """See Fleet."""
        threads.blockingCallFromThread(reactor, self.clock.advance, seconds)

    def found(self) -> Found:
        """See Fleet."""
        self._run(self._recovered())
        rows: dict[tuple[int, int], tuple[str, int | None, int]] = {}
        messages, contents, carried = set(), set(), set()
        for message, content, n, status, owner, claim in self._ask(_FOUND):
            if n is not None:
                rows[message, n] = (status, owner, claim)
            elif message is None:
                contents.add(content)
            else:
                messages.add(message)
                carried.add(content)
        return Found(rows, frozenset(messages), frozenset(contents), frozenset(carried))

    async def _recovered(self) -> None:
        """Wait until nothing is left to be recovered by those who can."""
        while any(each.recovery.due and not away for each, away in zip(self._writers, self.away, strict=True)):
            await self._glance()

    def forget_node(self, owner: int, beat: int) -> None:
        """See Fleet."""
        self._ask(f"delete from nodes where owner = {owner} and beat = {beat}")

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._run(self._pool.query(sql))
        return found

    def _run(self, coroutine: Awaitable[Any]) -> Any:
        return threads.blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(coroutine))
