"""What the contracts of queue, nodes and timeline run on: processes that share a store, of memory or of PostgreSQL."""

import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mtad.adapters.postgres.holds import PostgresHolds
from mtad.adapters.postgres.nodes import PostgresNodes
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.queue import PostgresQueue
from mtad.adapters.postgres.timeline import PostgresTimeline
from mtad.adapters.postgres.writer import Writer
from mtad.adapters.spool import DiskSpool
from mtad.interfaces import IHolds, INodes, IQueue, IQueueCare, ITimeline
from mtad.testing.queue import MemoryDatabase
from mtad.testing.spool import MemorySpool
from mtad.testing.store import MemoryStore
from tests.contract.gate import Gate, Pipe
from tests.contract.people import MemoryPeople, PostgresPeople
from tests.stores import database

EMPTY = """
with m as (delete from messages), c as (delete from message_content), q as (delete from message_queue),
    e as (delete from message_events), k as (delete from message_keys), n as (delete from nodes),
    h as (delete from holds), a as (delete from audit)
delete from node_slots
"""


@dataclass
class Process:
    """One process' ports; `queue` is IQueue and IQueueCare. The others of one store see what it did.

    `people` are at the same store.
    """

    queue: "IQueue & IQueueCare"
    holds: IHolds
    nodes: INodes
    timeline: ITimeline
    people: MemoryPeople | PostgresPeople


class MemoryCase(TestCase):
    """Processes over one MemoryStore; one that is `elsewhere` has none of the trouble that is made here."""

    keep_content_seconds = 0.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock, self.keep_content_seconds)
        self.spool = MemorySpool()

    async def process(self) -> Process:
        self.database = MemoryDatabase(self.store, self.clock, self.spool)
        return self._process(self.database)

    async def elsewhere(self) -> Process:
        return self._process(MemoryDatabase(self.store, self.clock))

    def _process(self, database: MemoryDatabase) -> Process:
        people = MemoryPeople(self.store)
        return Process(database.queue, database.holds, database.nodes, database.timeline, people)

    async def rest_an_hour(self) -> None:
        self.clock.advance(3600)

    def wait_in_vain(self) -> None:
        self.clock.advance(30)

    def fill_the_spool(self) -> None:
        self.spool.full = True

    async def outage(self) -> None:
        self.database.outage()

    async def restore(self) -> None:
        self.database.restore()

    def losing(self) -> bool:
        return self.database.losing

    def lose_answer(self) -> None:
        self.database.lose_answer()

    def lose_all_answers(self) -> None:
        self.database.lose_answer(outage=True)


@cache
def emptied() -> dict[str, str]:
    """Return the one database of these tests; each empties it first."""
    return database()


class PostgresCase(TestCase):
    """Processes over one PostgreSQL, the way of the writer's connections through a gate. `clock` ages what waits."""

    timeout = 30
    made = staticmethod(emptied)
    keep_content_seconds = 0.0

    async def setUp(self) -> None:
        self.parameters = self.made()
        self.clock = Clock()
        self.pool = Pool(reactor, self.parameters, 2)
        await self.pool.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.pool.stop()))
        await self.pool.query(EMPTY)
        directory = Path(tempfile.mkdtemp(prefix="mtad-gate-"))
        self.addCleanup(shutil.rmtree, directory)
        self.spool = DiskSpool(directory)
        self.gate = self.new_gate(directory)
        self.gate.open()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.gate.shut()))

    def new_gate(self, directory: Path) -> "LosingGate":
        """Return the gate for the way of the writer's connections."""
        return LosingGate(self.parameters, directory)

    async def process(self) -> Process:
        self.writer, queue = self.writing()
        await self.writer.start()
        return self._process(queue)

    async def elsewhere(self) -> Process:
        writer = Writer(reactor, self.parameters, Random(2))
        self.addCleanup(lambda: Deferred.fromCoroutine(writer.stop(grace_seconds=0)))
        await writer.start()
        return self._process(PostgresQueue(writer, self.pool, self.spool))

    def _process(self, queue: PostgresQueue) -> Process:
        holds, nodes, timeline = PostgresHolds(self.pool), PostgresNodes(self.pool), PostgresTimeline(self.pool)
        return Process(queue, holds, nodes, timeline, PostgresPeople(self.pool))

    def writing(self, **terms: object) -> tuple[Writer, PostgresQueue]:
        """Return a writer that was not started, and its queue."""
        writer = Writer(reactor, self.gate.parameters, Random(1), **terms)
        self.addCleanup(lambda: Deferred.fromCoroutine(writer.stop(grace_seconds=0)))
        queue = PostgresQueue(
            writer, self.pool, self.spool, keep_content_seconds=self.keep_content_seconds, clock=self.clock
        )
        return writer, queue

    async def rest_an_hour(self) -> None:
        await self.pool.query("update node_slots set last_beat = last_beat - interval '1 hour'")

    def wait_in_vain(self) -> None:
        self.clock.advance(30)

    def fill_the_spool(self) -> None:
        self.patch(self.spool, "new_file", DiskSpool(Path(), max_files=0).new_file)

    async def outage(self) -> None:
        await self.gate.shut()

    async def restore(self) -> None:
        self.gate.open()

    def losing(self) -> bool:
        return self.gate.losing

    def lose_answer(self) -> None:
        self.gate.lose(shutting=False)

    def lose_all_answers(self) -> None:
        self.gate.lose(shutting=True)


class LosingGate(Gate):
    """A gate that may break a connection when the server answers an acceptance or a settlement."""

    losing = False

    def lose(self, shutting: bool) -> None:
        """Lose the next such answer; `lost` fires then. With `shutting` nothing comes through any more."""
        self.losing = True
        self.shutting = shutting
        self.lost: Deferred[None] = Deferred()

    def buildProtocol(self, address: object) -> Pipe:
        self.connections += 1
        front = self.front()
        connectProtocol(self._behind, ServerPipe(self)).addCallback(front.join)
        return front

    def front(self) -> Pipe:
        """Return a new end at the client."""
        return ClientPipe(self)


class ClientPipe(Pipe):
    """The end at the client; it knows a request by the names of statements it binds."""

    gate: LosingGate

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self.gate.losing and (b"\0accept\0" in data or b"\0settle_" in data):
            self.gate.losing = False
            self.other.doomed = True


class ServerPipe(Pipe):
    """The end at the server."""

    gate: LosingGate
    doomed = False

    def dataReceived(self, data: bytes) -> None:
        if not self.doomed:
            super().dataReceived(data)
            return
        self.transport.abortConnection()
        if self.gate.shutting:
            Deferred.fromCoroutine(self.gate.shut()).chainDeferred(self.gate.lost)
        else:
            self.gate.lost.callback(None)
