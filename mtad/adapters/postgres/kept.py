"""A server process that is kept up: started, adopted, watched, told to end (`guardian` decides when).

A server and all its children inherit a descriptor with a flock on the server's own lock file. That lock is the only
witness of life: pid files may name a stranger after a crash or a reboot, this lock is free exactly when none of these
processes is left. While it is free, left-over pid files and sockets lie and are removed. While it is taken by a
server that is not our child, the server of an earlier guardian still runs and is adopted.
"""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from queue import SimpleQueue

from mtad.adapters.postgres.locks import open_lock, take_alone, try_alone
from mtad.adapters.postgres.servers import Server, launch
from mtad.model.errors import Unavailable

_LEFTOVER_SECONDS = 30.0
_GLANCE_SECONDS = 0.05
_STARTS_A_MINUTE = 4


class Kept:
    """A server that runs or is about to. `events` gets it whenever no process of it is left."""

    def __init__(self, server: Server, events: "SimpleQueue[Kept | None]") -> None:
        self.server = server
        self._events = events
        self._process: subprocess.Popen[bytes] | None = None
        self._starts: list[float] = []

    def begin(self) -> None:
        """Start the server, or adopt the one that runs.

        Unavailable when neither works, or when it was started too often in the last minute.
        """
        self._starts = [start for start in self._starts if start > time.monotonic() - 60]
        if len(self._starts) >= _STARTS_A_MINUTE:
            said = last_line(self.server.log)
            raise Unavailable(self.server.name, f"does not stay up; {self.server.log} ends with: {said}")
        deadline = time.monotonic() + _LEFTOVER_SECONDS
        while not self._launched() and not running(self.server):
            if time.monotonic() > deadline:
                raise Unavailable(self.server.name, f"processes of an earlier one still hold {self.server.lock}")
            time.sleep(_GLANCE_SECONDS)
        threading.Thread(target=self._watch, daemon=True).start()

    def signal(self, number: signal.Signals) -> None:
        """Tell the server to end."""
        # A child that was not waited for keeps its number; a stranger's is asked for anew.
        pid = self._process.pid if self._process else running(self.server)
        try:
            if pid:
                os.kill(pid, number)
        except ProcessLookupError:
            pass

    def reap(self) -> None:
        """Forget the process that is gone."""
        if self._process:
            self._process.wait()
        self._process = None

    def _launched(self) -> bool:
        """Start the server unless its lock says that it runs."""
        lock = open_lock(self.server.lock)
        try:
            if not try_alone(lock):
                return False
            for leftover in self.server.leftovers:
                leftover.unlink(missing_ok=True)
            self._process = launch(self.server, lock)
        finally:
            os.close(lock)
        self._starts.append(time.monotonic())
        return True

    def _watch(self) -> None:
        lock = open_lock(self.server.lock)
        take_alone(lock)
        os.close(lock)
        self._events.put(self)


def running(server: Server) -> int:
    """Return the process id of a server that runs, 0 when it cannot be told.

    Only a process that works in the server's data directory as that directory's owner is believed to be it.
    """
    try:
        pid = int(_read_start(server.pid_file).split(b"\n", 1)[0])
        process = Path(f"/proc/{pid}")
        data = server.data.stat()
        same_place = os.path.samestat((process / "cwd").stat(), data)
        same_owner = process.stat().st_uid == data.st_uid
    except (OSError, ValueError):
        return 0
    return pid if same_place and same_owner else 0


def last_line(log: Path) -> str:
    """Return the last line of a log that says anything."""
    with log.open("rb") as file:
        file.seek(-min(4096, log.stat().st_size), os.SEEK_END)
        lines = file.read().decode("utf-8", "backslashreplace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")


def _read_start(path: Path) -> bytes:
    """Return the first octets of a file that another account may have replaced by anything."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 64)
    finally:
        os.close(descriptor)
