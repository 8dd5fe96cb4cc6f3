"""How many messages a second one process can have accepted and settled, and what that costs it.

    python -m bench.writer [--dsn "host=… dbname=…"] [--concurrent 100] [--seconds 5] [--size 4096] [--profile FILE]

Without --dsn it uses the tests' database. Each of the concurrent loops accepts a message of one recipient and settles
it as delivered; nothing else is done. CPU is this process' own, without the server's.
"""

import argparse
import cProfile
import time
from random import Random

from psycopg.conninfo import conninfo_to_dict
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres.nodes import PostgresNodes
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.queue import PostgresQueue
from mtad.adapters.postgres.writer import Writer
from mtad.model.address import Address
from mtad.model.envelope import Recipient
from mtad.model.event import DELIVERED, RECEIVED, ROUTED, Event
from mtad.model.identity import next_id
from mtad.model.job import Acceptance, Disposal, Message, Node, Result, Settlement
from mtad.model.outcome import Delivered
from mtad.testing.spool import MemorySpool

WALL = SystemClock()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dsn")
    parser.add_argument("--concurrent", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--profile")
    return parser.parse_args()


def acceptance(number: int, content: bytes, now: float) -> Acceptance:
    sender, alice = Address("ann", "outside.example"), Address("alice", "acme.example")
    events = (
        Event(RECEIVED, now, {"peer": "192.0.2.1", "helo": "mx.outside.example", "size": len(content)}),
        Event(ROUTED, now, {"to": "alice@acme.example", "by": "mailbox"}),
    )
    message = Message(
        id=number, organisation=2, direction="inbound", reverse_path=sender,
        recipients=(Recipient(0, alice, alice, "local:acme.example"),), content_id=number, size=len(content),
        received_at=now, expires_at=now + 432_000, events=events,
        keys=("ann@outside.example", "alice@acme.example", f"<{number}@outside.example>", "192.0.2.1"),
    )  # fmt: skip
    return Acceptance(number, content, (message,))


class Bench:
    def __init__(self, queue: PostgresQueue, node: Node, options: argparse.Namespace) -> None:
        self.queue, self.node, self.options = queue, node, options
        self.content = bytes(Random(1).randrange(32, 127) for _ in range(options.size))
        self.last = node.last_id
        self.done = 0

    async def loop(self, until: float) -> None:
        while time.monotonic() < until:
            now = WALL.now()
            self.last = number = next_id(self.node.slot, self.last, now)
            await self.queue.accept(acceptance(number, self.content, now), self.node.owner)
            events = (Event(DELIVERED, now, {"to": "alice@acme.example", "detail": "250 2.0.0 OK"}),)
            result = Result(0, 1, Delivered("OK"), Disposal.GONE)
            await self.queue.settle([Settlement(number, 2, 1, 1, (result,), events)], self.node.owner, now)
            self.done += 1


async def main(options: argparse.Namespace) -> None:
    parameters = conninfo_to_dict(options.dsn) if options.dsn else _database()
    writer = Writer(reactor, parameters, Random(), connections=options.connections)
    pool = Pool(reactor, parameters, 1)
    queue = PostgresQueue(writer, pool, MemorySpool())
    await pool.start()
    await writer.start()
    node = await PostgresNodes(pool).join("bench", WALL.now())
    bench = Bench(queue, node, options)
    await measured(bench, 1.0)
    profile = cProfile.Profile() if options.profile else None
    if profile:
        profile.enable()
    rate, cpu = await measured(bench, options.seconds)
    if profile:
        profile.disable()
        profile.dump_stats(options.profile)
    print(f"{rate:.0f} messages/s accepted and settled, {cpu * 1e6:.0f} µs of CPU here a message")
    await PostgresNodes(pool).leave(node.owner, WALL.now())
    await writer.stop()
    await pool.stop()


async def measured(bench: Bench, seconds: float) -> tuple[float, float]:
    bench.done = 0
    started, cpu = time.monotonic(), time.process_time()
    loops = [Deferred.fromCoroutine(bench.loop(started + seconds)) for _ in range(bench.options.concurrent)]
    await gatherResults(loops)
    return bench.done / (time.monotonic() - started), (time.process_time() - cpu) / bench.done


def _database() -> dict[str, str]:
    # Only here: it starts the embedded stores.
    from tests.stores import database

    return database()


if __name__ == "__main__":
    running = Deferred.fromCoroutine(main(arguments()))
    running.addErrback(lambda failure: failure.printTraceback())
    running.addBoth(lambda _: reactor.stop())
    reactor.run()
