"""The process behind `mtad.adapters.offload`: takes calls on descriptor 0, answers on 1, is passed descriptors on 3.

    python -m mtad.adapters.offload_child THREADS

A frame is a length of four octets and a pickle: (number, function, arguments) comes in, with the number of descriptors
that come for it in between; (number, result, exception) goes out. Both ends are one program, and nobody else holds the
pipes. It lives as long as its parent: at the end of its input it finishes what it took and ends. Signals for the
parent's whole group leave it alone.
"""

import io
import os
import pickle
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, BinaryIO

from mtad.adapters.spooled import Descriptor

LENGTH = struct.Struct(">I")
CALL = struct.Struct(">IH")
"""What is before the pickle of a call: its length, and how many descriptors it refers to."""

DESCRIPTORS = 3
"""Where they come from: a unix socket, one message a call that has any (SCM_RIGHTS, unix(7))."""

Call = tuple[bytes, list[Descriptor]]


def framed(value: object) -> bytes:
    """Return a value as one frame; an exception of pickle's when it cannot be carried."""
    octets = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(octets)) + octets


def passed(n: int) -> Descriptor:
    """Stand in a pickle for descriptor `n` of those that are passed with its call."""
    raise pickle.UnpicklingError("a descriptor without its call")


class _Unpickler(pickle.Unpickler):
    """Reads a call with the descriptors that came for it."""

    def __init__(self, call: Call) -> None:
        octets, self._descriptors = call
        super().__init__(io.BytesIO(octets))

    def find_class(self, module: str, name: str) -> Any:
        """See pickle.Unpickler."""
        if (module, name) == ("mtad.adapters.offload_child", "passed"):
            return self._descriptors.__getitem__
        return super().find_class(module, name)


class _Answers:
    """Where the threads write their answers, one at a time."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = Lock()

    def give(self, number: int, result: object, error: Exception | None) -> None:
        try:
            frame = framed((number, result, error))
        except Exception as uncarried:
            frame = framed((number, None, RuntimeError(f"cannot be carried: {error!r} {uncarried!r}")))
        # A parent that is gone hears nothing; what it asked for is done all the same.
        with self._lock, suppress(BrokenPipeError):
            self._out.write(frame)


def _serve(calls: "SimpleQueue[Call | None]", answers: _Answers) -> None:
    """Work off calls until there are no more."""
    while (call := calls.get()) is not None:
        _do(call, answers)
        # A file is closed with the last who refers to it, and the next call may be long in coming.
        del call


def _do(call: Call, answers: _Answers) -> None:
    number, work, arguments = _Unpickler(call).load()
    try:
        answers.give(number, work(*arguments), None)
    except Exception as error:
        answers.give(number, None, error)


def _calls(incoming: BinaryIO) -> Iterator[Call]:
    """Yield calls as they come, to the end."""
    passed: socket.socket | None = None
    while len(head := incoming.read(CALL.size)) == CALL.size:
        length, count = CALL.unpack(head)
        octets = incoming.read(length)
        descriptors: list[Descriptor] = []
        if count:
            passed = passed or socket.socket(fileno=DESCRIPTORS)
            _, numbers, _, _ = socket.recv_fds(passed, 1, count)
            descriptors = [Descriptor(number) for number in numbers]
        if len(descriptors) < count:
            return
        yield octets, descriptors


def main() -> None:
    """Serve until the parent closes descriptor 0."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    # What work prints must not come between the answers.
    answers = _Answers(os.fdopen(os.dup(1), "wb", buffering=0))
    os.dup2(2, 1)
    calls: SimpleQueue[Call | None] = SimpleQueue()
    threads = [Thread(target=_serve, args=(calls, answers)) for _ in range(int(sys.argv[1]))]
    for thread in threads:
        thread.start()
    for call in _calls(os.fdopen(0, "rb")):
        calls.put(call)
    for _ in threads:
        calls.put(None)


if __name__ == "__main__":
    main()
