"""Servers that share their stores and Maildirs, and are stopped and killed as a whole or a process at a time.

Their logs are read all the time, whatever else a test does: a server whose log nobody reads is slow.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from tests.system.server import PATIENCE_SECONDS, RunningServer

SUPERVISOR = 0
Line = dict[str, Any]


def family(pid: int) -> list[int]:
    """Return a process and all below it, itself first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


class Replica(RunningServer):
    """An mtad of `processes`, none of which is told of but by the log; `replica` makes another on the same stores."""

    def __init__(
        self,
        sections: Mapping[str, Mapping[str, object]] | None = None,
        stores: Mapping[str, str] | None = None,
        processes: int = 1,
    ) -> None:
        self._sections = {name: dict(keys) for name, keys in (sections or {}).items()}
        server = self._sections.setdefault("server", {})
        if processes > 1:
            server["processes"] = processes
        super().__init__(self._sections, stores=stores)
        self._processes = processes
        self._changed = threading.Condition()

    def replica(self) -> "Replica":
        """Return another server, not started, that delivers into the same Maildirs."""
        delivery = {"local": {"kind": "maildir", "path": str(self.path / "state" / "mail")}}
        return Replica({**self._sections, "delivery": delivery}, self.stores, self._processes)

    def start(self) -> "Replica":
        """Start it, and wait until all of it is up."""
        since = len(self.log)
        self._process = subprocess.Popen(
            [Path(sys.executable).with_name("twistd"), "-n", "--pidfile=", "mtad", "--config", self.config],
            stdout=subprocess.PIPE, cwd=self.path, env=self._environment,
        )  # fmt: skip
        self._reading = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reading.start()
        self.wait_line("service.started", lambda line: line.get("process", SUPERVISOR) == SUPERVISOR, since)
        return self

    def wait_line(self, event: str, fits: Callable[[Line], object] = lambda line: True, since: int = 0) -> Line:
        """Return the first line of an event that fits; AssertionError when none comes."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._changed:
            while True:
                for line in self.lines(event, since):
                    if fits(line):
                        return line
                left = deadline - time.monotonic()
                assert left > 0, f"no {event}, but: {self.log[-5:]}"
                self._changed.wait(left)

    def lines(self, event: str, since: int = 0) -> list[Line]:
        """Return the lines of the log that tell of an event."""
        return [cast(Line, line) for line in self.log[since:] if line.get("event") == event]

    @property
    def runs(self) -> bool:
        """Whether it was started, and not ended since."""
        return self._process is not None

    def pids(self) -> dict[int, int]:
        """Return the processes that do the work, by number, as they came up last."""
        return {line["number"]: line["pid"] for line in self.lines("process.up")}

    def owner(self, number: int) -> int:
        """Return the owner number that the process of that number has now."""
        return max(line["owner"] for line in self.lines("node.joined") if line.get("process", number) == number)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        for pid in family(self.pid):
            os.kill(pid, number)

    def kill(self) -> None:
        """End all of its processes with SIGKILL: the supervisor first, so that it starts none."""
        self.signal(signal.SIGKILL)
        self._end()

    def _end(self) -> int:
        assert self._process is not None
        status = self._process.wait(PATIENCE_SECONDS)
        self._reading.join(PATIENCE_SECONDS)
        self._process = None
        return status

    def _read(self, output: Any) -> None:
        for octets in output:
            try:
                line = json.loads(octets)
            except ValueError:
                line = {"text": octets.decode(errors="backslashreplace")}
            with self._changed:
                self.log.append(line)
                self._changed.notify_all()
        output.close()
