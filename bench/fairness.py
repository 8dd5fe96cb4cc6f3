"""What a neighbour's backlog costs: one organisation with 110 000 messages that wait, another that sends one a second.

    python -m bench.fairness [--slow 100000] [--fast 10000] [--alone 60] [--beside 120] [--directory /var/tmp]

A's messages are put into mtad's queue directly: most for a server that takes five seconds for each, the others for
smtp-sink. B sends by SMTP, to a server of this process; each of its messages is timed from its 250, and from the end of
its data, until it is there. It is measured alone, and then beside A. A's fast messages are timed alone, and then beside
the slow ones. Every message of B's is looked for; docs/benchmarks.md says how to read what it prints.
"""

import argparse
import asyncio
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection, make_dsn

from bench.load import Wrong, await_count
from bench.servers import Mtad, NotStarted, free_port
from bench.sink import Sink
from bench.turns import interrupted, scratch
from mtad.adapters.postgres import embedded

SLOW_SECONDS = 5
PATIENCE_SECONDS = 60.0
_NUMBER = re.compile(rb"^Subject: (\d+)\r$", re.MULTILINE)
_FILL = """
with letters as (
    insert into messages (id, organisation, direction, reverse_path, recipients, content_id, copies, size, received_at)
    select n, organisations.id, 'outbound', 'ann@%(domain)s', 1, n, 1, 1024, now()
    from generate_series(%(first)s, %(last)s) n, organisations where organisations.name = 'a'
    returning id, organisation
), contents as (
    insert into message_content (content_id, n, chunk)
    select id, 0, convert_to(rpad(E'From: ann@%(domain)s\\r\\nSubject: ' || id || E'\\r\\n\\r\\n', 1022, 'x')
        || E'\\r\\n', 'UTF8')
    from letters
)
insert into message_queue (message, n, organisation, destination, recipient, status, claim, due, expires_at)
select id, 0, organisation, 'local:%(domain)s', 'user@%(domain)s', 'queued', 0, now(), now() + interval '5 days'
from letters
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slow", type=int, default=100_000, help="messages of A for the slow server")
    parser.add_argument("--fast", type=int, default=10_000, help="messages of A for the fast one")
    parser.add_argument("--alone", type=int, default=60, help="messages of B, one a second")
    parser.add_argument("--beside", type=int, default=120, help="messages of B beside A's")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="on a real disk")
    return parser.parse_args()


class Shared(Mtad):
    """An mtad with two organisations; `ports` says where the server of each domain is."""

    def __init__(self, home: Path, ports: dict[str, int]) -> None:
        super().__init__(home)
        self.state = home / "state"
        tenants = home / "neighbours.yaml"
        tenants.write_text("organisations:\n" + _tenant("a", ports, "slow", "fast") + _tenant("b", ports, "own"))
        self._apply(tenants)


def _tenant(name: str, ports: dict[str, int], *domains: str) -> str:
    return f"  - name: {name}\n    domains:\n" + "".join(
        f"      - name: {domain}.example\n"
        f"        verified: true\n"
        f'        delivery: {{kind: smtp, addr: "127.0.0.1:{ports[domain]}"}}\n'
        f"        mailboxes: [{{local_part: user}}]\n"
        for domain in domains
    )


@contextmanager
def slow_sink(port: int) -> Iterator[None]:
    """Have a server that takes its time for every message."""
    command = ["smtp-sink", "-4", "-u", "nobody", "-w", str(SLOW_SECONDS), f"127.0.0.1:{port}", "1024"]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


class Arrivals:
    """B's server: takes what comes, and knows when, by the number in its subject."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}
        self._came = asyncio.Event()

    async def until(self, numbers: Collection[int]) -> None:
        """Wait until those are here, or no more come."""
        with suppress(TimeoutError):
            while not self.at.keys() >= set(numbers):
                self._came.clear()
                await asyncio.wait_for(self._came.wait(), PATIENCE_SECONDS)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be the server of one connection."""
        writer.write(b"220 own\r\n")
        # A connection that is kept may outlive the measurement.
        with suppress(asyncio.CancelledError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line.upper().startswith(b"DATA"):
                writer.write(b"354 go\r\n")
                content = await reader.readuntil(b"\r\n.\r\n")
                found = _NUMBER.search(content)
                assert found, content[:200]
                if int(found[1]) in self.at:
                    raise Wrong(f"message {int(found[1])} came twice")
                self.at[int(found[1])] = time.monotonic()
                self._came.set()
            writer.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")


async def one_a_second(port: int, own: int, first: int, count: int) -> list[tuple[float, float]]:
    """Send B's messages; return the seconds of each from its 250, and from the end of its data, until it came."""
    arrivals = Arrivals()
    sent: dict[int, tuple[float, float]] = {}
    async with await asyncio.start_server(arrivals.serve, "127.0.0.1", own):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        await _say(reader, writer, b"HELO b.example\r\n")
        began = time.monotonic()
        for n in range(count):
            await asyncio.sleep(max(0.0, began + n - time.monotonic()))
            for line in (b"MAIL FROM:<bob@outside.example>", b"RCPT TO:<user@own.example>", b"DATA"):
                await _say(reader, writer, line + b"\r\n")
            ended = time.monotonic()
            await _say(reader, writer, b"From: bob@outside.example\r\nSubject: %d\r\n\r\nhello\r\n.\r\n" % (first + n))
            sent[first + n] = (time.monotonic(), ended)
        await arrivals.until(sent.keys())
        await _say(reader, writer, b"QUIT\r\n")
    if lost := sent.keys() - arrivals.at.keys():
        raise Wrong(f"{len(lost)} messages of B did not come")
    return [(arrivals.at[n] - accepted, arrivals.at[n] - ended) for n, (accepted, ended) in sent.items()]


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, octets: bytes) -> None:
    writer.write(octets)
    reply = await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)
    if reply[:1] not in b"23":
        raise Wrong(f"B is told {reply!r}")


class Backlog:
    """A's messages, and how many of the fast ones there were."""

    def __init__(self, database: connection, fast: Sink) -> None:
        self._database = database
        self._fast = fast
        self._next = 1

    def fill(self, domain: str, count: int) -> None:
        """Add messages that are due now."""
        last = self._next + count - 1
        with self._database.cursor() as cursor:
            cursor.execute(_FILL % {"domain": domain, "first": self._next, "last": last})
        self._next = last + 1

    def await_fast(self, count: int, since: float) -> float:
        """Return the seconds until that many more were there."""
        return await_count(lambda: self._fast.count, count, 0.2) - since


def percentile(values: list[float], percent: int) -> float:
    """Return the value that so many of a hundred do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def told(title: str, seconds: list[tuple[float, float]]) -> None:
    """Print B's figures."""
    for name, values in zip(("from the 250", "from end of data"), zip(*seconds, strict=True), strict=True):
        median, most = (percentile(list(values), percent) * 1000 for percent in (50, 95))
        print(f"  B {title:7} {name:17} p50 {median:7.1f} ms   p95 {most:7.1f} ms", flush=True)


def measure(server: Shared, own: int, backlog: Backlog, fast: Sink, options: argparse.Namespace) -> None:
    """Run all of it, and print what it came to."""
    asyncio.run(one_a_second(server.port, own, 1_000_000, 5))
    alone = asyncio.run(one_a_second(server.port, own, 2_000_000, options.alone))
    told("alone", alone)
    began = time.monotonic()
    backlog.fill("fast.example", options.fast)
    fast_alone = backlog.await_fast(options.fast, began)
    print(f"  A's fast messages alone           {fast_alone:7.1f} s", flush=True)
    backlog.fill("slow.example", options.slow)
    time.sleep(SLOW_SECONDS)
    began = time.monotonic()
    backlog.fill("fast.example", options.fast)

    async def both() -> tuple[list[tuple[float, float]], float]:
        seconds = asyncio.get_running_loop().run_in_executor(None, backlog.await_fast, 2 * options.fast, began)
        return await one_a_second(server.port, own, 3_000_000, options.beside), await seconds

    beside, fast_beside = asyncio.run(both())
    print(f"  A's fast messages beside slow ones{fast_beside:7.1f} s")
    during = round(fast_beside)
    told("fast too", beside[:during])
    told("beside", beside)
    if fast.count != 2 * options.fast:
        raise Wrong(f"of {2 * options.fast} fast messages {fast.count} came")


def main() -> None:
    options = arguments()
    if shutil.which("smtp-sink") is None:
        sys.exit("smtp-sink is missing: apt install postfix")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    ports = {domain: free_port() for domain in ("slow", "fast", "own")}
    try:
        with scratch(options.directory) as home, ExitStack() as stack:
            fast = stack.enter_context(Sink(ports["fast"]))
            stack.enter_context(slow_sink(ports["slow"]))
            server = Shared(home / "mtad", ports)
            stack.callback(server.remove)
            stack.enter_context(server)
            stores = stack.enter_context(closing(embedded.start(server.state, print, redis=False)))
            database = stack.enter_context(closing(psycopg2.connect(make_dsn(**stores.database))))
            database.autocommit = True
            measure(server, ports["own"], Backlog(database, fast), fast, options)
    except (NotStarted, Wrong) as trouble:
        sys.exit(str(trouble))


if __name__ == "__main__":
    main()
