"""One process, from its supervisor's side: spawned, linked, up, stopped, ended.

It inherits the log and the listening sockets, its end of the link, and nothing else. It has ended once it is reaped and
all that it told is read.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from socket import AF_UNIX, socket, socketpair
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorSocket, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from mtad.interfaces import IJournal
from mtad.model.errors import Unavailable
from mtad.processes.link import Link, Once
from mtad.processes.plan import Orders, Plan

LINK = 3
"""The descriptor of a process' end of the link."""

FIRST_LISTENING = 4
STARTED, RELOAD, DRAINING, LAST = "started", "reload", "draining", "last"
"""What a process tells: it is up; a reload is wanted (token); whether it drains; what it counted until its end."""

REFUSE, REFUSED = "refuse", "refused"
"""What it is told: whether to refuse connections while it drains; which reload (token) was refused, and why."""

READY, FAMILIES = "ready", "families"
"""What it is asked."""

KILL_SECONDS = 22.0
"""A process stops within 20 s; one that has not by then does not stop by itself."""


class IReactor(IReactorProcess, IReactorSocket, IReactorTime):
    """What this module asks of a reactor."""


class Running(ProcessProtocol):
    """The process `number`; no two have the same `serial`. `heard` is given what it tells, `ended` is called once."""

    def __init__(
        self,
        *,
        number: int,
        serial: int,
        clock: IReactorTime,
        journal: IJournal,
        heard: "Callable[[Running, str, Any], None]",
        ended: "Callable[[Running], None]",
    ) -> None:
        self.number = number
        self.serial = serial
        self.pid = 0
        self.up = False
        self.draining = False
        self.how_it_ended: str | None = None
        self.link = Link(heard=self._hear, lost=self._link_lost)
        self._clock = clock
        self._journal = journal
        self._heard = heard
        self._tell_ended = ended
        self._spawned_at = clock.seconds()
        self._linked = True
        self._waiting_up: list[Deferred[None]] = []
        self._waiting_ended: list[Deferred[None]] = []
        self._kill: IDelayedCall | None = None

    @property
    def lived_seconds(self) -> float:
        """How long it has been there."""
        return self._clock.seconds() - self._spawned_at

    def when_up(self) -> "Deferred[None]":
        """Fire once it is up; fails with Unavailable when it ends before."""
        waiter: Deferred[None] = Deferred()
        if self.up:
            waiter.callback(None)
        elif self.how_it_ended is not None:
            waiter.errback(self._never_up())
        else:
            self._waiting_up.append(waiter)
        return waiter

    def when_ended(self) -> "Deferred[None]":
        """Fire once it is no more."""
        waiter: Deferred[None] = Deferred()
        if self._is_over():
            waiter.callback(None)
        else:
            self._waiting_ended.append(waiter)
        return waiter

    def stop(self) -> "Deferred[None]":
        """Let it finish what it has in hand, and kill it when that takes too long; fires once it is no more."""
        if self._kill is None and not self._is_over():
            self._signal(signal.SIGTERM)
            self._kill = self._clock.callLater(KILL_SECONDS, self._stop_at_once)
        return self.when_ended()

    def connectionMade(self) -> None:
        """Note its number among the machine's processes."""
        self.pid = int(getattr(self.transport, "pid", None) or 0)

    def processEnded(self, reason: Failure) -> None:
        """Note how it ended."""
        trouble = reason.value
        number = getattr(trouble, "signal", None)
        self.how_it_ended = f"signal {number}" if number else f"status {getattr(trouble, 'exitCode', None) or 0}"
        if self._kill is not None and self._kill.active():
            self._kill.cancel()
        self._end_if_over()

    def _hear(self, what: str, value: Any) -> None:
        if what == STARTED:
            self.up = True
            self._journal.record("process.up", number=self.number, pid=self.pid, seconds=self.lived_seconds)
            waiting, self._waiting_up = self._waiting_up, []
            for waiter in waiting:
                waiter.callback(None)
        elif what == DRAINING:
            self.draining = bool(value)
        self._heard(self, what, value)

    def _link_lost(self) -> None:
        self._linked = False
        self._end_if_over()

    def _is_over(self) -> bool:
        return self.how_it_ended is not None and not self._linked

    def _end_if_over(self) -> None:
        if not self._is_over():
            return
        self._tell_ended(self)
        waiting, self._waiting_up = self._waiting_up, []
        for waiter in waiting:
            waiter.errback(self._never_up())
        waiting, self._waiting_ended = self._waiting_ended, []
        for waiter in waiting:
            waiter.callback(None)

    def _never_up(self) -> Unavailable:
        return Unavailable(f"process {self.number}", f"ended before it was up: {self.how_it_ended}")

    def _stop_at_once(self) -> None:
        self._journal.record("process.killed", number=self.number, pid=self.pid, seconds=KILL_SECONDS)
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        assert self.transport is not None
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(number.name.removeprefix("SIG"))


class Spawning:
    """Spawns the processes of one supervisor."""

    def __init__(self, reactor: IReactor, journal: IJournal) -> None:
        self._reactor = reactor
        self._journal = journal
        self._serials = count(1)

    def spawn(
        self,
        number: int,
        plan: Plan,
        sockets: Mapping[str, list[socket]],
        heard: Callable[[Running, str, Any], None],
        ended: Callable[[Running], None],
    ) -> Running:
        """Return a process that has just begun to start; Unavailable when the system has no room for one."""
        running = Running(
            number=number,
            serial=next(self._serials),
            clock=self._reactor,
            journal=self._journal,
            heard=heard,
            ended=ended,
        )
        inherited, numbers = _numbered(sockets)
        try:
            self._start(running, inherited)
        except OSError as error:
            raise Unavailable(f"process {number}", f"cannot be started: {error.strerror}") from error
        hostname = str(plan.settings.server.hostname)
        orders = Orders(number, plan.count, str(plan.config), plan.octets, hostname, numbers)
        running.link.tell("orders", msgspec.to_builtins(orders, builtin_types=(bytes,)))
        return running

    def _start(self, running: Running, inherited: Mapping[int, int]) -> None:
        """Start the program with these descriptors, and join the link."""
        ours, theirs = socketpair()
        ours.setblocking(False)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with ours, theirs:
                self._reactor.spawnProcess(
                    running,
                    sys.executable,
                    [sys.executable, "-m", "mtad.child"],
                    # Of this program's modules, wherever it found them.
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                    childFDs={0: nothing, 1: 1, 2: 2, LINK: theirs.fileno(), **inherited},
                )
                self._reactor.adoptStreamConnection(ours.fileno(), AF_UNIX, Once(running.link))
        finally:
            os.close(nothing)


def _numbered(sockets: Mapping[str, list[socket]]) -> tuple[dict[int, int], dict[str, list[int]]]:
    """Return which descriptor of a process is which of ours, and which ones each address has there."""
    free = count(FIRST_LISTENING)
    inherited: dict[int, int] = {}
    numbers: dict[str, list[int]] = {}
    for address, listening in sockets.items():
        for each in listening:
            number = next(free)
            inherited[number] = each.fileno()
            numbers.setdefault(address, []).append(number)
    return inherited, numbers
