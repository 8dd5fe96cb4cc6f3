"""One number, and the process that has it: started again whenever it ends, and replaced at a reload.

A process is replaced by starting its successor first: only when that is up it is told to stop, so that somebody always
serves. What is started again has the configuration it had.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mtad.interfaces import IJournal
from mtad.model.errors import Unavailable
from mtad.processes.backoff import Backoff
from mtad.processes.plan import Plan
from mtad.processes.running import Running

UP_SECONDS = 120.0
"""How long a process may take to be up at a reload."""


class Slot:
    """The place of the process `number`, which follows `plan`; `spawn` starts one, and raises Unavailable."""

    def __init__(
        self,
        number: int,
        plan: Plan,
        spawn: Callable[[int, Plan], Running],
        clock: IReactorTime,
        journal: IJournal,
    ) -> None:
        self.number = number
        self.plan = plan
        self.running: Running | None = None
        self._spawn = spawn
        self._clock = clock
        self._journal = journal
        self._backoff = Backoff()
        self._pause_seconds: float | None = None  # until it ended for the first time
        self._again: IDelayedCall | None = None
        self._closed = False

    def start(self) -> Running:
        """Start the process, now and whenever it ends."""
        running = self._spawn(self.number, self.plan)
        self._have(running)
        return running

    async def replace(self, plan: Plan) -> None:
        """Have a process with another plan; Unavailable when it does not come up: then nothing has changed."""
        self._wait_no_more()
        try:
            successor = self._spawn(self.number, plan)
            await self._up(successor)
        except Unavailable:
            self._start_later()
            raise
        if self._closed:
            return
        before = self.running
        self.plan = plan
        self._wait_no_more()
        self._have(successor)
        if before is not None:
            await self._stopped(before)

    async def stop(self) -> None:
        """Start nothing more, and stop the process."""
        self.close()
        if self.running is not None:
            await self._stopped(self.running)

    def close(self) -> None:
        """Start nothing more."""
        self._closed = True
        self._wait_no_more()

    async def _up(self, running: Running) -> None:
        waiting = running.when_up()
        waiting.addTimeout(UP_SECONDS, self._clock, _too_long)
        try:
            await waiting
        except Unavailable:
            await running.stop()
            raise

    def _have(self, running: Running) -> None:
        self.running = running
        running.when_ended().addCallback(lambda _: self._ended(running))

    def _ended(self, running: Running) -> None:
        if running is not self.running or self._closed:
            return
        self.running = None
        self._rest(running.pid, str(running.how_it_ended), running.lived_seconds)

    def _rest(self, pid: int, how: str, lived_seconds: float) -> None:
        pause = self._pause_seconds = self._backoff.after(lived_seconds)
        self._journal.record("process.ended", number=self.number, pid=pid, how=how, again_seconds=pause)
        self._start_later()

    def _start_later(self) -> None:
        """Start the process that ended, after its pause."""
        if self.running is None and self._pause_seconds is not None and not self._closed:
            self._wait_no_more()
            self._again = self._clock.callLater(self._pause_seconds, self._start_again)

    def _start_again(self) -> None:
        self._again = None
        try:
            self.start()
        except Unavailable as trouble:
            self._rest(0, trouble.reason, 0.0)

    async def _stopped(self, running: Running) -> None:
        pid = running.pid
        await running.stop()
        self._journal.record("process.stopped", number=self.number, pid=pid)

    def _wait_no_more(self) -> None:
        again, self._again = self._again, None
        if again is not None and again.active():
            again.cancel()


def _too_long(result: object, timeout_seconds: float) -> "Deferred[None]":
    raise Unavailable("process", f"is not up after {timeout_seconds:g} s")
