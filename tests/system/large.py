"""Large messages for system tests and benchmarks: sent at once, and what a process takes for them."""

import base64
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

MAX_OCTETS = 25 * 1024 * 1024
"""As much as a server takes by default; the messages are of whole lines and a little smaller."""

PATIENCE_SECONDS = 300.0
_LINE_OCTETS = 78
_HEAD = b"Subject: large %05d\r\n\r\n"
_NUMBER = re.compile(rb"^Subject: large (\d+)\r?$", re.MULTILINE)
_TICKS = os.sysconf("SC_CLK_TCK")


def message(number: int) -> bytes:
    """Return a message, known by its number; some of its lines begin with a dot."""
    return _HEAD % number + _body()


@cache
def _body() -> bytes:
    lines = (MAX_OCTETS - len(_HEAD % 0)) // _LINE_OCTETS
    encoded = base64.encodebytes(Random(25).randbytes(lines * 57)).replace(b"\n", b"\r\n")
    return encoded.replace(b"\nA", b"\n.")


@cache
def _stuffed_body() -> bytes:
    return _body().replace(b"\r\n.", b"\r\n..")


def number_of(received: bytes) -> int:
    """Return the number of a message, whatever is on top of it."""
    found = _NUMBER.search(received, 0, 4096)
    assert found, received[:4096]
    return int(found[1])


def send(port: int, recipients: Sequence[str], together: Callable[[], object] = int) -> float:
    """Send message n to recipient n, all at once over a connection each; return the seconds until the last 250.

    `together` is called when all are waited for and none is sent. AssertionError when one is refused.
    """
    _stuffed_body()
    since = [0.0]

    def begin() -> None:
        together()
        since[0] = time.monotonic()

    barrier = threading.Barrier(len(recipients), begin)
    with ThreadPoolExecutor(len(recipients)) as pool:
        sendings = [pool.submit(_send, port, recipient, n, barrier) for n, recipient in enumerate(recipients)]
        for sending in sendings:
            sending.result()
    return time.monotonic() - since[0]


def _send(port: int, recipient: str, number: int, barrier: threading.Barrier) -> None:
    # From an address of its own: one may have so many connections.
    source = (f"127.0.0.{2 + number % 250}", 0)
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS, source) as connection:
            replies = connection.makefile("rb")
            _expect(replies.readline(), b"220 ")
            connection.sendall(b"HELO outside.example\r\nMAIL FROM:<ann@outside.example>\r\n")
            connection.sendall(b"RCPT TO:<%s>\r\nDATA\r\n" % recipient.encode())
            for code in (b"250 ", b"250 ", b"250 ", b"354 "):
                _expect(replies.readline(), code)
            barrier.wait(PATIENCE_SECONDS)
            for octets in (_HEAD % number, _stuffed_body(), b".\r\n"):
                connection.sendall(octets)
            _expect(replies.readline(), b"250 ")
    except BaseException:
        barrier.abort()
        raise


def _expect(reply: bytes, code: bytes) -> None:
    assert reply.startswith(code), reply


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, without its children's."""
    # proc(5): the second field is a name in parentheses that may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / _TICKS


class Memory:
    """Watches how much memory of its own a process has (RssAnon, proc(5)) while the block runs.

    In octets: `before`, `peak`, and `after`.
    """

    def __init__(self, pid: int, every_seconds: float = 0.02) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._every_seconds = every_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self.before = self.peak = self.after = self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.after = self._look()

    @property
    def raised(self) -> int:
        """By how much the peak is above what there was before."""
        return self.peak - self.before

    @property
    def now(self) -> int:
        """How much there is at this moment."""
        return self._look()

    def _watch(self) -> None:
        while not self._ended.wait(self._every_seconds):
            self.peak = max(self.peak, self._look())

    def _look(self) -> int:
        fields = dict(line.split(":", 1) for line in self._status.read_text().splitlines())
        return int(fields["RssAnon"].split()[0]) * 1024
