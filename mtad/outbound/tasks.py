"""Tasks a service owns: it starts them here and waits for them when it stops (DESIGN D2)."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from mtad.interfaces import IJournal
from mtad.model.errors import Unavailable
from mtad.model.text import shown

T = TypeVar("T")


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines beside each other and return their results in order."""
    coroutines = list(coroutines)
    if len(coroutines) == 1:
        return [await coroutines[0]]
    started = [Deferred.fromCoroutine(coroutine) for coroutine in coroutines]
    return [await running for running in started]


async def in_time(ending: Deferred[None], seconds: float, clock: IReactorTime) -> None:
    """Wait for tasks to end, but no longer than that, and not at all when no time is left; the others go on."""
    ending.addTimeout(max(0.0, seconds), clock, lambda _, __: None)
    await ending


class Tasks:
    """A service's running coroutines and its periodic ones. Nothing they raise is lost, nothing ends a loop."""

    def __init__(self, clock: IReactorTime, journal: IJournal) -> None:
        self._clock = clock
        self._journal = journal
        self._loops: list[LoopingCall] = []
        self._running: set[Deferred[None]] = set()
        self._empty: list[Deferred[None]] = []

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run a coroutine now and own it until it ends."""
        task = Deferred.fromCoroutine(coroutine)
        task.addErrback(self._failed, name)
        self._running.add(task)
        task.addBoth(lambda _: self._ended(task))

    def every(self, interval_seconds: float, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Do `work` now and then every so often; a round that takes longer is never doubled."""

        async def once() -> None:
            await work()

        def round_() -> Deferred[None]:
            task: Deferred[None] = Deferred()
            self.start(_and_then(once(), task), name)
            return task

        loop = LoopingCall(round_)
        loop.clock = self._clock
        self._loops.append(loop)
        loop.start(interval_seconds)

    async def stop(self) -> None:
        """Begin no more rounds and wait for what runs."""
        for loop in self._loops:
            if loop.running:
                loop.stop()
        await self.idle()

    async def idle(self) -> None:
        """Wait until nothing runs."""
        while self._running:
            waiter: Deferred[None] = Deferred()
            self._empty.append(waiter)
            await waiter

    def _ended(self, task: Deferred[None]) -> None:
        self._running.discard(task)
        if not self._running:
            waiting, self._empty = self._empty, []
            for waiter in waiting:
                waiter.callback(None)

    def _failed(self, failure: Failure, name: str) -> None:
        trouble = failure.value
        if isinstance(trouble, Unavailable):
            self._journal.record(
                "store.unavailable", task=name, dependency=trouble.dependency, reason=shown(trouble.reason)
            )
        else:
            self._journal.record("task.surprise", task=name, failure=shown(failure.getTraceback(), 4000))


async def _and_then(work: Coroutine[Any, Any, None], done: Deferred[None]) -> None:
    try:
        await work
    finally:
        done.callback(None)
