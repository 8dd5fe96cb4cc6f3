"""Work in a process of its own: for waits on disks beside a busy reactor.

A thread that comes back from a system call has to wait for the interpreter, and a reactor that makes system calls
itself takes it back before the thread wakes. So a batch of files written in a thread waits more for the interpreter
than for the disk (bench/maildir.py). A process has its own: a batch costs the reactor one write and one read.

What it may be given is what pickle can carry: a function of a module, plain arguments, a plain result; and contents of
the spool, of which it is passed the files' descriptors, to read them itself. Should the process end, what it was doing
fails with Unavailable and another is started. However this process ends, it ends too.
"""

import copyreg
import io
import os
import pickle
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.adapters.offload_child import CALL, DESCRIPTORS, LENGTH, passed
from mtad.adapters.spooled import Descriptor
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
        self._unsent: list[_Call] = []
        self._process: IProcessTransport | None = None
        self._passing: socket.socket | None = None
        self._stopped: Deferred[None] | None = None

    def run(self, work: Callable[..., T], *arguments: object) -> "Deferred[T]":
        """Run `work(*arguments)` there; fails with what pickle says of them, or Unavailable when it ends first."""
        if self._stopped is not None:
            return fail(Unavailable("offload", "the server is stopping"))
        self._number += 1
        try:
            call = _Call((self._number, work, arguments))
            if self._process is None:
                self._unsent.append(call)
            else:
                self._send(call)
        except Exception:
            return fail()
        done: Deferred[T] = Deferred()
        self._waiting[self._number] = done
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
        assert self._passing is not None
        self._passing.close()
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
        self._passing, theirs = socket.socketpair()
        self._passing.setblocking(False)
        with theirs:
            self._process = self._reactor.spawnProcess(
                _Link(self),
                sys.executable,
                [sys.executable, "-m", "mtad.adapters.offload_child", str(self._threads)],
                env=environment,
                childFDs={0: "w", 1: "r", 2: 2, DESCRIPTORS: theirs.fileno()},
            )
        unsent, self._unsent = self._unsent, []
        for call in unsent:
            self._send(call)

    def _send(self, call: "_Call") -> None:
        """Send a call, its descriptors before it; raises Unavailable, with nothing sent, when they cannot be."""
        assert self._process is not None
        if call.descriptors:
            assert self._passing is not None
            try:
                socket.send_fds(self._passing, [b"\0"], [each.number for each in call.descriptors])
            except OSError as error:
                raise Unavailable("offload", f"no file can be passed: {error.strerror}") from error
        self._process.write(call.frame)

    def _fail_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._unsent.clear()
        for done in waiting.values():
            done.errback(Unavailable("offload", "the process that works for this one ended"))


class _Call:
    """A call as it is sent; an exception of pickle's when it cannot be carried."""

    def __init__(self, call: tuple[int, Callable[..., object], Sequence[object]]) -> None:
        self.descriptors: list[Descriptor] = []
        octets = io.BytesIO()
        pickler = pickle.Pickler(octets, pickle.HIGHEST_PROTOCOL)
        # A table costs nothing where there is no descriptor; `persistent_id` would be asked about every value.
        pickler.dispatch_table = {**copyreg.dispatch_table, Descriptor: self._pass}
        pickler.dump(call)
        self.frame = CALL.pack(octets.tell(), len(self.descriptors)) + octets.getvalue()

    def _pass(self, descriptor: Descriptor) -> tuple[Callable[[int], Descriptor], tuple[int]]:
        """Return what stands for a descriptor in the pickle: its place among those that are passed."""
        self.descriptors.append(descriptor)
        return passed, (len(self.descriptors) - 1,)


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
