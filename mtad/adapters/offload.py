"""Work in a process of its own: for waits on disks beside a busy reactor.

A thread that comes back from a system call has to wait for the interpreter, and a reactor that makes system calls
itself takes it back before the thread wakes. So a batch of files written in a thread waits more for the interpreter
than for the disk (bench/maildir.py). A process has its own: a batch costs the reactor one write and one read.

What it may be given is what pickle can carry: a function of a module, plain arguments, a plain result. Should the
process end, what it was doing fails with Unavailable and another is started. However this process ends, it ends too.
"""

import os
import pickle
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.adapters.offload_child import LENGTH, framed
from mtad.interfaces import IOffload
from mtad.model.errors import Unavailable

T = TypeVar("T")

RESTART_SECONDS = 1.0


class IReactor(IReactorProcess, IReactorTime):
    """What this module asks of a reactor."""


@implementer(IOffload)
class ProcessOffload(Service):
    """One process with `threads` threads while the service runs; what is given to it before waits for the start."""

    def __init__(self, reactor: IReactor, threads: int) -> None:
        self._reactor = reactor
        self._threads = threads
        self._number = 0
        self._waiting: dict[int, Deferred[Any]] = {}
        self._unsent: list[bytes] = []
        self._process: IProcessTransport | None = None
        self._stopped: Deferred[None] | None = None

    def run(self, work: Callable[..., T], *arguments: object) -> "Deferred[T]":
        """Run `work(*arguments)` there; fails with what pickle says of them, or Unavailable when it ends first."""
        if self._stopped is not None:
            return fail(Unavailable("offload", "the server is stopping"))
        self._number += 1
        try:
            frame = framed((self._number, work, arguments))
        except Exception:
            return fail()
        done: Deferred[T] = Deferred()
        self._waiting[self._number] = done
        if self._process is None:
            self._unsent.append(frame)
        else:
            self._process.write(frame)
        return done

    def startService(self) -> None:
        """Start the process."""
        Service.startService(self)
        self._spawn()

    def stopService(self) -> "Deferred[None]":
        """Take no more work; fire when what was taken has ended, and the process with it."""
        Service.stopService(self)
        self._stopped = Deferred()
        if self._process is None:
            self._fail_waiting()
            self._stopped.callback(None)
        else:
            # It reads all that is under way before it sees the end.
            self._process.closeStdin()
        return self._stopped

    def answered(self, number: int, result: object, error: Exception | None) -> None:
        """Hand over what became of a call."""
        done = self._waiting.pop(number)
        if error is None:
            done.callback(result)
        else:
            done.errback(error)

    def ended(self) -> None:
        """Fail what the process will not answer any more, and start another unless it was asked to end."""
        self._process = None
        self._fail_waiting()
        if self._stopped is not None:
            self._stopped.callback(None)
        else:
            self._reactor.callLater(RESTART_SECONDS, self._spawn)

    def _spawn(self) -> None:
        if self._stopped is not None:
            return
        # Of this program's modules, wherever it found them.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = self._reactor.spawnProcess(
            _Link(self),
            sys.executable,
            [sys.executable, "-m", "mtad.adapters.offload_child", str(self._threads)],
            env=environment,
            childFDs={0: "w", 1: "r", 2: 2},
        )
        self._process.write(b"".join(self._unsent))
        self._unsent.clear()

    def _fail_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._unsent.clear()
        for done in waiting.values():
            done.errback(Unavailable("offload", "the process that works for this one ended"))


class _Link(ProcessProtocol):
    """The pipes to one process."""

    def __init__(self, owner: ProcessOffload) -> None:
        self._owner = owner
        self._received = bytearray()

    def outReceived(self, data: bytes) -> None:
        """Take answers, whole ones."""
        self._received += data
        while len(self._received) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._received)
            end = LENGTH.size + length
            if len(self._received) < end:
                break
            answer = pickle.loads(self._received[LENGTH.size : end])  # noqa: S301 - our own child's
            del self._received[:end]
            self._owner.answered(*answer)

    def processEnded(self, reason: Failure) -> None:
        """Tell the owner; nothing is to come any more."""
        self._owner.ended()
