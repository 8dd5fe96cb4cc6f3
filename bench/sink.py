"""smtp-sink (Debian's package postfix) as the place where relayed mail ends, and what came there of a load.

smtp-sink tells how many messages it took, which is how the end of a load is seen, and captures each of them, which is
how it is seen that none is lost, none came twice, and each is for whom it was sent to. The capture is in memory
(/dev/shm), and so costs some 50 µs of CPU for a message of 4 KB and 200 µs for one of 100 KB, to every server alike.
"""

import mmap
import os
import re
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.load import Load, Result, await_count
from bench.servers import NotStarted, Server

IN_MEMORY = Path("/dev/shm")
_BACKLOG = 1024
_LOOK_SECONDS = 0.02
_SETTLE_SECONDS = 0.5
_TAIL_OCTETS = 128
_COUNTER = re.compile(rb"mesg=(\d+)\r")
_CAPTURED = re.compile(
    rb"^(?:X-Rcpt-Args: <(?P<to>[^@>\n]*)|message-id:[ \t]*(?P<id>\S+))", re.MULTILINE | re.IGNORECASE
)


class Sink:
    """An smtp-sink on a port of the loopback; a `with` block is its life."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._home = tempfile.TemporaryDirectory(prefix="mtad-bench-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None)
        directory = Path(self._home.name)
        self._counters, self._capture = directory / "counters", directory / "capture"
        # As root smtp-sink insists on being somebody else.
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        directory.chmod(0o777)
        command = ["smtp-sink", "-4", *user, "-c", "-D", str(self._capture), f"127.0.0.1:{self.port}", str(_BACKLOG)]
        with open(self._counters, "wb") as counters:
            # Ctrl-C is for us; it is ended in its turn.
            self._process = subprocess.Popen(command, stdout=counters, stderr=counters, start_new_session=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()
        self._home.cleanup()

    @property
    def count(self) -> int:
        """How many messages it has taken since it began; raises NotStarted when it has ended."""
        assert self._process is not None
        with open(self._counters, "rb") as counters:
            counters.seek(max(0, os.fstat(counters.fileno()).st_size - _TAIL_OCTETS))
            tail = counters.read()
        if self._process.poll() is not None:
            raise NotStarted(f"smtp-sink ended: {tail.decode(errors='replace').strip()}")
        found = _COUNTER.findall(tail)
        return int(found[-1]) if found else 0

    @property
    def room_octets(self) -> int:
        """How much there is room for."""
        state = os.statvfs(self._home.name)
        return state.f_bavail * state.f_frsize

    def take(self) -> tuple[Counter[bytes], Counter[str]]:
        """Return the captured messages by Message-ID and by the local part they are for, and forget them."""
        if not self._capture.exists():
            return Counter(), Counter()
        ids: Counter[bytes] = Counter()
        local_parts: Counter[str] = Counter()
        with open(self._capture, "rb") as capture, mmap.mmap(capture.fileno(), 0, access=mmap.ACCESS_READ) as octets:
            for found in _CAPTURED.finditer(octets):
                if found["id"] is not None:
                    ids[found["id"]] += 1
                else:
                    local_parts[found["to"].decode("ascii", "replace")] += 1
        # smtp-sink opens it anew for each message.
        self._capture.unlink()
        return ids, local_parts


class RelayLoad(Load):
    """A load whose messages end at a sink instead of in Maildirs."""

    def __init__(self, sink: Sink, *, each: int, octets: int, keep: bool) -> None:
        super().__init__(each=each, octets=octets, keep=keep)
        self._sink = sink

    def run(self, server: Server) -> Result:
        """Send, wait for the sink, and see that every message came there once; raises Wrong."""
        before = self._sink.count
        used = server.cpu_seconds()
        began = time.monotonic()
        self._send_all(server.port)
        acknowledged = time.monotonic()
        relayed = await_count(lambda: self._sink.count, before + self._count, _LOOK_SECONDS)
        # What the server still writes down about its last messages is of the load, and so is a copy that comes late.
        time.sleep(_SETTLE_SECONDS)
        used = server.cpu_seconds() - used
        self._check(*self._sink.take())
        return Result(
            count=self._count,
            acknowledged=self._count / (acknowledged - began),
            delivered=self._count / (relayed - began),
            cpu_milliseconds=used / self._count * 1000,
        )
