"""The process behind `mtad.adapters.offload`: takes calls on descriptor 0, answers on descriptor 1.

    python -m mtad.adapters.offload_child THREADS

A frame is a length of four octets and a pickle: (number, function, arguments) comes in, (number, result, exception)
goes out. Both ends are one program, and nobody else holds the descriptors. It lives as long as its parent: at the end
of its input it finishes what it took and ends. Signals for the parent's whole group leave it alone.
"""

import os
import pickle
import signal
import struct
import sys
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import BinaryIO

LENGTH = struct.Struct(">I")


def framed(value: object) -> bytes:
    """Return a value as one frame; an exception of pickle's when it cannot be carried."""
    octets = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(octets)) + octets


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


def _serve(calls: "SimpleQueue[bytes | None]", answers: _Answers) -> None:
    """Work off calls until there are no more."""
    while (call := calls.get()) is not None:
        number, work, arguments = pickle.loads(call)  # noqa: S301 - our parent's
        try:
            answers.give(number, work(*arguments), None)
        except Exception as error:
            answers.give(number, None, error)


def main() -> None:
    """Serve until the parent closes descriptor 0."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    # What work prints must not come between the answers.
    answers = _Answers(os.fdopen(os.dup(1), "wb", buffering=0))
    os.dup2(2, 1)
    calls: SimpleQueue[bytes | None] = SimpleQueue()
    threads = [Thread(target=_serve, args=(calls, answers)) for _ in range(int(sys.argv[1]))]
    for thread in threads:
        thread.start()
    incoming = os.fdopen(0, "rb")
    while len(head := incoming.read(LENGTH.size)) == LENGTH.size:
        calls.put(incoming.read(*LENGTH.unpack(head)))
    for _ in threads:
        calls.put(None)


if __name__ == "__main__":
    main()
