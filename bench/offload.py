"""What a hop to a thread costs: jobs/s, waits and CPU, for ours and Twisted's pool, idle and beside a busy reactor.

    python bench/offload.py [directory to write in]

The work is nothing (`nothing`), or what a Maildir delivery asks of the kernel (`deliver`: create, write 4 KB, fsync,
rename, fsync of the directory). Busy means that the reactor computes for 2 ms and then takes a turn, again and again.
"""

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from mtad.adapters.offload import ThreadedOffload

THREADS = 4
SWITCHES_MS = (5.0, 1.0, 0.5, 0.2, 0.1)
Run = Callable[[Callable[[], Any]], "Deferred[Any]"]


class Delivery:
    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.descriptor = os.open(directory, os.O_RDONLY)
        self.numbers = itertools.count()

    def __call__(self) -> None:
        name = f"{self.directory}/{next(self.numbers)}"
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, b"x" * 4096)
        os.fsync(descriptor)
        os.close(descriptor)
        os.rename(name, f"{name}.new")
        os.fsync(self.descriptor)


class Spinner:
    """Keeps the reactor busy; `turns` counts what it got done."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.on = False
        self.turns = 0

    def start(self) -> None:
        self.on = True
        self.spin()

    def spin(self) -> None:
        until = time.perf_counter() + 0.002
        while time.perf_counter() < until:
            self.turns += 1
        if self.on:
            self.reactor.callLater(0, self.spin)


async def measure(run: Run, work: Callable[[], Any], total: int, abreast: int) -> str:
    waits: list[float] = []
    left = itertools.count(total, -1)
    finished: Deferred[None] = Deferred()

    def begin() -> None:
        if next(left) > 0:
            run(work).addCallback(end, time.perf_counter())

    def end(_: object, began: float) -> None:
        waits.append(time.perf_counter() - began)
        if len(waits) == total:
            finished.callback(None)
        begin()

    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(abreast):
        begin()
    await finished
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    waits.sort()
    return (
        f"{total / elapsed:8.0f}/s  p50 {waits[total // 2] * 1e6:6.0f} µs  p99 {waits[total * 99 // 100] * 1e6:6.0f} µs"
        f"  CPU {cpu / total * 1e6:5.0f} µs"
    )


async def pool_figures(reactor: Any, name: str, run: Run, deliver: Delivery) -> None:
    spinner = Spinner(reactor)
    for busy in (False, True):
        for kind, work, total, abreast in (("nothing", int, 1500, 16), ("deliver", deliver, 600, 16)):
            if busy:
                spinner.start()
            began, turns = time.perf_counter(), spinner.turns
            figures = await measure(run, work, total, abreast)
            speed = (spinner.turns - turns) / (time.perf_counter() - began) / 1e6
            spinner.on = False
            await deferLater(reactor, 0.01)
            print(f"  {name:8} {'busy' if busy else 'idle'} {kind:8} {figures}  spins {speed:4.1f} M/s", flush=True)


async def main(reactor: Any, directory: str) -> None:
    deliver = Delivery(directory)
    ours = ThreadedOffload(reactor, THREADS)
    twisteds = ThreadPool(THREADS, THREADS)
    ours.startService()
    twisteds.start()
    for switch_ms in SWITCHES_MS:
        sys.setswitchinterval(switch_ms / 1000)
        print(f"switch interval {switch_ms} ms")
        await pool_figures(reactor, "mtad", ours.run, deliver)
        await pool_figures(reactor, "twisted", lambda work: deferToThreadPool(reactor, twisteds, work), deliver)
    twisteds.stop()
    await ours.stopService()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else ".") as scratch:
        react(lambda reactor: Deferred.fromCoroutine(main(reactor, scratch)))
