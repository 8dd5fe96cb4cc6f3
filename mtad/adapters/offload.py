"""Threads for work that would hold the reactor: waits for disks, slow arithmetic.

First come first served over a fixed number of threads of its own, so that nothing else (a name lookup, say) stands in
the way of a delivery. What has ended is handed over in batches: one wake-up of the reactor serves all that ended
before it turned, at half of what Twisted's ThreadPool costs a job or less (bench/offload.py).

A thread that returns from a system call must wait until the reactor lets go of the interpreter, by default up to 5 ms
each time; with `SWITCH_SECONDS` a busy reactor delivers five times as many messages. It touches no database.
"""

import sys
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.interfaces import IOffload
from mtad.model.errors import Unavailable

T = TypeVar("T")

SWITCH_SECONDS = 0.0002

_Call = Callable[[], None]


@implementer(IOffload)
class ThreadedOffload(Service):
    """`threads` threads while the service runs; what is given to it before waits for the start."""

    def __init__(self, reactor: IReactorFromThreads, threads: int) -> None:
        self._reactor = reactor
        self._thread_count = threads
        self._threads: list[Thread] = []
        self._jobs: SimpleQueue[_Call | None] = SimpleQueue()
        self._ended: deque[_Call] = deque()
        self._reactor_knows = False
        self._under_way = 0
        self._usual_switch_seconds = sys.getswitchinterval()
        self._stopping: Deferred[None] | None = None

    def run(self, work: Callable[..., T], *arguments: object) -> "Deferred[T]":
        """Run `work(*arguments)` in a thread; fails with Unavailable once the service was asked to stop."""
        if self._stopping is not None:
            return fail(Unavailable("offload", "the server is stopping"))
        done: Deferred[T] = Deferred()
        self._under_way += 1
        self._jobs.put(lambda: self._perform(done, work, arguments))
        return done

    def startService(self) -> None:
        """Start the threads."""
        Service.startService(self)
        self._stopping = None
        self._usual_switch_seconds = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        # Daemons: a process that dies without stopping must not hang on work it will never hear of.
        self._threads = [
            Thread(target=self._serve, name=f"offload-{number}", daemon=True) for number in range(self._thread_count)
        ]
        for thread in self._threads:
            thread.start()

    def stopService(self) -> "Deferred[None]":
        """Take no more work; fire when all that was taken has ended, its results handed over, its threads gone."""
        Service.stopService(self)
        self._stopping = Deferred()
        self._stopping.addCallback(self._dismiss)
        if not self._under_way:
            self._stopping.callback(None)
        return self._stopping

    def _dismiss(self, _: None) -> None:
        for _thread in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        sys.setswitchinterval(self._usual_switch_seconds)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _perform(self, done: "Deferred[T]", work: Callable[..., T], arguments: tuple[object, ...]) -> None:
        """Do the work, in a thread, and leave the result for the reactor."""
        try:
            result = work(*arguments)
        except BaseException:
            failure = Failure()
            self._ended.append(lambda: done.errback(failure))
        else:
            self._ended.append(lambda: done.callback(result))
        if not self._reactor_knows:
            self._reactor_knows = True
            self._reactor.callFromThread(self._hand_over)

    def _hand_over(self) -> None:
        # Lowered first: what ends from here on wakes the reactor again, so nothing is left lying.
        self._reactor_knows = False
        for _ in range(len(self._ended)):
            self._ended.popleft()()
            self._under_way -= 1
        if self._stopping is not None and not self._under_way and not self._stopping.called:
            self._stopping.callback(None)
