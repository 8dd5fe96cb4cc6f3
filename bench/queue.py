"""What the queue's size costs: claims and settlements among many rows, and what is left of a million messages.

    python -m bench.queue [--rows 1000 …] [--organisations 1000 …] [--claims 300] [--through 1000000]
        [--directory /var/tmp]

Each case fills a PostgreSQL of its own and claims 100 rows again and again, through the adapter that mtad uses: READY
and CLAIM together are one claim. What was claimed is settled as delivered, and replaced, so that the queue stays as
long as it is. Its exit status is 1 when a bound is broken; docs/benchmarks.md says how to read what it prints.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from random import Random

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from bench.filling import CONTENT_OCTETS, HOT, TIMELINE, Tables, private_database
from bench.writer import acceptance
from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres.nodes import PostgresNodes
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.queue import PostgresQueue
from mtad.adapters.postgres.timeline import PostgresTimeline
from mtad.adapters.postgres.writer import Writer
from mtad.model.event import DELIVERED, Event
from mtad.model.identity import next_id
from mtad.model.job import LANES_VISITED, Disposal, Job, Lane, Node, Result, Settlement
from mtad.model.outcome import Delivered
from mtad.tap import spare_what_stays
from mtad.testing.spool import MemorySpool

WALL = SystemClock()
AT_ONCE = 100
CONCURRENT = 200
WARMING = 10
MB = 1024 * 1024
MOST_MS = 20.0
"""A claim of AT_ONCE takes no longer, but for one in a hundred."""
VACUUMS_BEHIND = 3
"""The bound on growth: what so many rounds of autovacuum leave, each with what is done from one to the next."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[1_000, 100_000, 1_000_000])
    parser.add_argument("--organisations", type=int, nargs="*", default=[1_000, 50_000])
    parser.add_argument("--claims", type=int, default=300)
    parser.add_argument("--through", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    return parser.parse_args()


class Bench:
    """A node that claims and settles. Times are kept in seconds."""

    def __init__(self, queue: PostgresQueue, node: Node, tables: Tables) -> None:
        self.queue, self.node, self.tables = queue, node, tables
        self.after: Lane | None = None
        self.last = node.last_id
        self.done = 0

    async def claim(self) -> Sequence[Job]:
        """Claim AT_ONCE rows, from as many lanes as have some."""
        now = WALL.now()
        ready = await self.queue.ready(now, AT_ONCE, self.after)
        if not ready.lanes:
            ready = await self.queue.ready(now, AT_ONCE, None)
        self.after = ready.after
        return await self.queue.claim(self.node.owner, ready.lanes, -(-AT_ONCE // len(ready.lanes)), now)

    async def settle(self, jobs: Sequence[Job]) -> None:
        """Settle jobs as delivered, each for itself as the worker does."""
        now = WALL.now()
        settles = [self.queue.settle([_delivered(job, now)], self.node.owner, now) for job in jobs]
        await gatherResults([Deferred.fromCoroutine(settle) for settle in settles])

    async def claims(self, count: int, organisations: int) -> tuple[list[float], float]:
        """Return how long claims took, and how many rows were settled a second."""
        took: list[float] = []
        settled, settling = 0, 0.0
        for number in range(WARMING + count):
            began = time.monotonic()
            jobs = await self.claim()
            claimed = time.monotonic()
            await self.settle(jobs)
            if number >= WARMING:
                took.append(claimed - began)
                settling += time.monotonic() - claimed
                settled += len(jobs)
            self.tables.fill(len(jobs), organisations, WALL.now())
        return took, settled / settling

    async def looks(self, count: int) -> list[float]:
        """Return how long it took to look at LANES_VISITED lanes in which nothing is due."""
        took: list[float] = []
        after = None
        for _ in range(count):
            began = time.monotonic()
            ready = await self.queue.ready(WALL.now(), LANES_VISITED, after)
            took.append(time.monotonic() - began)
            after = ready.after
        return took

    async def loop(self, content: bytes, until: int) -> None:
        """Accept and settle messages one by one, together with the other loops."""
        while self.done < until:
            self.done += 1
            now = WALL.now()
            self.last = number = next_id(self.node.slot, self.last, now)
            await self.queue.accept(acceptance(number, content, now), self.node.owner)
            events = (Event(DELIVERED, now, {"to": "alice@acme.example", "detail": "250 2.0.0 OK"}),)
            result = Result(0, 1, Delivered("OK"), Disposal.GONE)
            await self.queue.settle([Settlement(number, 2, 1, 1, (result,), events)], self.node.owner, now)


def _delivered(job: Job, now: float) -> Settlement:
    results = tuple(Result(each.recipient.n, each.claim, Delivered("OK"), Disposal.GONE) for each in job.targets)
    events = (Event(DELIVERED, now, {"to": "bob@example.org", "detail": "250 2.0.0 OK"}),)
    return Settlement(job.message, job.organisation, job.total, job.copies, results, events)


def _figures(took: Sequence[float]) -> str:
    cuts = statistics.quantiles(took, n=100)
    return f"{cuts[49] * 1e3:7.1f} {cuts[98] * 1e3:7.1f}"


async def sized(bench: Bench, rows: int, organisations: int, claims: int) -> list[float]:
    """Measure one length of the queue; return the p99 of claims, in ms, with and without a snapshot beside them."""
    tables = bench.tables
    tables.fill(rows, organisations, WALL.now())
    tables.vacuum()
    bench.after = None
    slowest = []
    for beside in ("", "snapshot"):
        with tables.snapshot() if beside else nullcontext():
            took, rate = await bench.claims(claims, organisations)
        print(f"{rows:>9} {organisations:>7} {beside:<9}{_figures(took)} {rate:10.0f}", end="", flush=True)
        print("   " if beside else "\n", end="")
        slowest.append(statistics.quantiles(took, n=100)[98] * 1e3)
    tables.postpone(WALL.now() + 86_400)
    tables.vacuum()
    print(_figures(await bench.looks(100)), flush=True)
    return slowest


def judged(slowest: Mapping[tuple[int, int], Sequence[float]]) -> bool:
    """Print whether the p99 of claims are within their bounds: MOST_MS, and twice that of the shortest queue."""
    shortest = min(rows for rows, _ in slowest)
    base = max(max(figures) for (rows, _), figures in slowest.items() if rows == shortest)
    worst = max(max(figures) for figures in slowest.values())
    kept = worst < min(MOST_MS, 2 * base)
    print(f"p99 of a claim: {worst:.1f} ms at most, {base:.1f} ms with {shortest} rows; {'kept' if kept else 'BROKEN'}")
    return kept


async def through(bench: Bench, count: int) -> bool:
    """Let messages through at full rate, and print what the tables came to; return whether that is within the bound."""
    tables = bench.tables
    content = bytes(Random(1).randrange(32, 127) for _ in range(4 * CONTENT_OCTETS))
    began = time.monotonic()
    largest = dict.fromkeys(HOT, 0)
    steps = 20
    for step in range(1, steps + 1):
        until = count * step // steps
        await gatherResults([Deferred.fromCoroutine(bench.loop(content, until)) for _ in range(CONCURRENT)])
        for name, octets, *_ in tables.sizes(HOT):
            largest[name] = max(largest[name], octets)
    rate = count / (time.monotonic() - began)
    naptime = tables.setting("autovacuum_naptime")
    print(f"\n{count} messages of {len(content)} octets, {rate:.0f} a second; autovacuum_naptime {naptime}")
    print("                 largest MB   at the end MB   dead rows   autovacuums")
    for name, octets, dead, vacuums in tables.sizes((*HOT, *TIMELINE)):
        most = f"{largest[name] / MB:10.1f}" if name in largest else " " * 10
        print(f"{name:<16} {most} {octets / MB:15.1f} {dead:11} {vacuums:13}")
    seconds = float(naptime.removesuffix("min")) * 60 if naptime.endswith("min") else float(naptime.removesuffix("s"))
    bound = VACUUMS_BEHIND * rate * seconds * (len(content) + 1024) / MB
    total = sum(largest.values()) / MB
    print(f"bound of the first four: {bound:.0f} MB; {'kept' if total <= bound else 'BROKEN'}: {total:.0f} MB")
    return total <= bound


async def main(options: argparse.Namespace, parameters: dict[str, str]) -> bool:
    """Measure all that is asked for; return whether all bounds were kept."""
    writer = Writer(reactor, parameters, Random())
    pool = Pool(reactor, parameters, 1)
    queue = PostgresQueue(writer, pool, MemorySpool())
    await pool.start()
    await writer.start()
    await PostgresTimeline(pool).maintain(WALL.now(), 30 * 86_400)
    tables = Tables(parameters)
    spare_what_stays()
    print("     rows    orgs             claim of 100, ms   settled/s   look at 1000 lanes, ms")
    print("                             p50     p99                    p50     p99")
    slowest = {}
    for organisations in options.organisations:
        for rows in options.rows:
            tables.empty()
            bench = Bench(queue, await PostgresNodes(pool).join("bench", WALL.now()), tables)
            slowest[rows, organisations] = await sized(bench, rows, organisations, options.claims)
    kept = not slowest or judged(slowest)
    if options.through:
        tables.empty()
        bench = Bench(queue, await PostgresNodes(pool).join("bench", WALL.now()), tables)
        kept = await through(bench, options.through) and kept
    tables.close()
    await writer.stop()
    await pool.stop()
    return kept


if __name__ == "__main__":
    asked = arguments()
    with tempfile.TemporaryDirectory(prefix="mtad-bench-", dir=asked.directory) as home:
        Path(home).chmod(0o755)
        with private_database(Path(home)) as connected:
            running = Deferred.fromCoroutine(main(asked, connected))
            ended: list[bool] = []
            running.addCallback(ended.append).addErrback(lambda failure: failure.printTraceback())
            running.addBoth(lambda _: reactor.stop())
            reactor.run()
    sys.exit(0 if ended == [True] else 1)
