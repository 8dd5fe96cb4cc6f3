"""The guardian: a process that runs the embedded stores as long as somebody uses them, and then stops them (DESIGN D5).

    python -m mtad.adapters.postgres.guardian STATE_DIR DESCRIPTOR

It is started by a user (`embedded.start`) who hands it guardian.lock, already locked, as DESCRIPTOR; it leaves that
user's session, so whatever ends the user does not end it. It alone starts and stops the servers:

- It holds nothing on embedded.lock while there are users: a thread waits for the exclusive lock, which the kernel
  grants when the last user closed its shared one or died. Then it stops the servers, gives up guardian.lock, ends, and
  only by ending gives up embedded.lock. So a user who comes while it stops waits for its shared lock until all is
  stopped, and whoever has a shared lock and finds guardian.lock taken has a guardian that will not stop.
- A server and all its children inherit a descriptor with a flock on the server's own lock file. That lock is the only
  witness of life: pid files may name a stranger after a crash or a reboot. While it is free, left-over pid files and
  sockets are removed and the server is started; while it is taken and there is a guardian no more, the server of a
  killed guardian is adopted, found by the pid file it wrote and by the directory it works in.
- A server that ends although there are users is started again, but not more than three times a minute.

Signals that end other programs are ignored, so that at a shutdown of the machine the users end first. It imports
little and does nothing with the data.
"""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from mtad.adapters.postgres import servers
from mtad.adapters.postgres.binaries import lent_to
from mtad.adapters.postgres.locks import open_lock, take_alone, try_alone
from mtad.adapters.postgres.place import FAILED, control_directory, settle
from mtad.adapters.postgres.servers import Server
from mtad.model.errors import MtadError, Unavailable

_LOG_OCTETS = 10 * 1024 * 1024
_LEFTOVER_SECONDS = 30.0
_STOP_SECONDS = 120.0
_HURRY_SECONDS = 10.0
_STARTS_A_MINUTE = 4

Report = Callable[[str], None]
Gone = "SimpleQueue[Kept | None]"


class Kept:
    """A server that runs or is about to. `gone` gets it whenever no process of it is left."""

    def __init__(self, server: Server, gone: "SimpleQueue[Kept | None]") -> None:
        self.server = server
        self._gone = gone
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._starts: list[float] = []

    def begin(self) -> None:
        """Start the server, or adopt the one that runs; Unavailable when neither works."""
        deadline = time.monotonic() + _LEFTOVER_SECONDS
        while not self._launched():
            self._pid = running(self.server)
            if self._pid:
                break
            if time.monotonic() > deadline:
                raise Unavailable(self.server.name, f"processes of an earlier one still hold {self.server.lock}")
            time.sleep(0.05)
        threading.Thread(target=self._watch, daemon=True).start()

    def again(self) -> None:
        """Start the server that is gone; Unavailable when that happens too often."""
        now = time.monotonic()
        self._starts = [start for start in self._starts if start > now - 60]
        if len(self._starts) >= _STARTS_A_MINUTE:
            raise Unavailable(
                self.server.name, f"does not stay up, {self.server.log} ends with: {last_line(self.server.log)}"
            )
        self.begin()

    def signal(self, number: signal.Signals) -> None:
        """Tell the server to end."""
        try:
            os.kill(self._pid, number)
        except ProcessLookupError:
            pass

    def reap(self) -> None:
        """Forget the process that is gone."""
        if self._process:
            self._process.wait()
        self._process = None
        self._pid = 0

    def _launched(self) -> bool:
        """Start the server unless its lock says that it runs."""
        lock = open_lock(self.server.lock)
        try:
            if not try_alone(lock):
                return False
            for leftover in self.server.leftovers:
                leftover.unlink(missing_ok=True)
            self._process = servers.launch(self.server, lock)
        finally:
            os.close(lock)
        self._pid = self._process.pid
        self._starts.append(time.monotonic())
        return True

    def _watch(self) -> None:
        lock = open_lock(self.server.lock)
        take_alone(lock)
        os.close(lock)
        self._gone.put(self)


class Guardian:
    """Keeps servers up until `users_gone`, then stops them."""

    def __init__(self, wanted: Sequence[Server], report: Report) -> None:
        self._events: SimpleQueue[Kept | None] = SimpleQueue()
        self._kept = [Kept(server, self._events) for server in wanted]
        self._up: set[Kept] = set()
        self._report = report

    def users_gone(self) -> None:
        """Say from any thread that nobody uses the servers any more."""
        self._events.put(None)

    def run(self) -> None:
        """Return when there are no users and no servers; Unavailable when a server cannot be kept up."""
        try:
            for kept in self._kept:
                kept.begin()
                self._up.add(kept)
            while gone := self._events.get():
                self._up.discard(gone)
                gone.reap()
                self._report(f"{gone.server.name} ended while in use, starting it again")
                gone.again()
                self._up.add(gone)
        finally:
            self._stop()

    def _stop(self) -> None:
        for kept in self._up:
            kept.signal(kept.server.stop)
        self._await_end(_STOP_SECONDS)
        for kept in self._up:
            self._report(f"{kept.server.name} takes too long to stop")
            kept.signal(kept.server.hurry)
        self._await_end(_HURRY_SECONDS)
        for kept in self._up:
            kept.signal(signal.SIGKILL)
        self._await_end(_HURRY_SECONDS)

    def _await_end(self, patience_seconds: float) -> None:
        deadline = time.monotonic() + patience_seconds
        while self._up:
            try:
                gone = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return
            if gone:
                self._up.discard(gone)
                gone.reap()


def running(server: Server) -> int:
    """Return the process id of a server that runs, 0 when it cannot be told.

    Only a process that works in the server's data directory, as the owner of that directory, is believed to be it.
    """
    try:
        pid = int(server.pid_file.read_text(encoding="ascii").split("\n", 1)[0])
        process = Path(f"/proc/{pid}")
        same_place = os.path.samestat(os.stat(process / "cwd"), os.stat(server.data))
        same_owner = os.stat(process).st_uid == os.stat(server.data).st_uid
    except (OSError, ValueError):
        return 0
    return pid if same_place and same_owner else 0


def last_line(log: Path) -> str:
    """Return the last line of a log that says anything."""
    with log.open("rb") as file:
        file.seek(-min(4096, log.stat().st_size), os.SEEK_END)
        lines = file.read().decode("utf-8", "backslashreplace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "nothing")


def main() -> None:
    """Run as the guardian of the state directory named on the command line."""
    state_dir, guardian_lock = Path(sys.argv[1]), int(sys.argv[2])
    if os.fork():
        os._exit(0)
    os.set_inheritable(guardian_lock, False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    os.umask(0o077)
    report = _reporter(control_directory(state_dir))
    try:
        _guard(state_dir, report)
    except MtadError as error:
        report(f"{FAILED}{error}")
        sys.exit(1)
    finally:
        # Before embedded.lock, which goes with the process: see the top of this module.
        os.close(guardian_lock)


def _guard(state_dir: Path, report: Report) -> None:
    """Make what lacks, then keep the servers up until the users are gone."""
    place = settle(state_dir, lambda: secrets.token_hex(24), report)
    binaries = lent_to(place.account)
    servers.write_access_file(place)
    if not place.postgres_data.exists():
        report(f"creating the embedded database in {place.postgres_data}")
        servers.create_database(place, binaries)
    guardian = Guardian([servers.postgres(place, binaries), servers.valkey(place, binaries)], report)
    users_lock = open_lock(state_dir / "embedded.lock")

    def await_users() -> None:
        take_alone(users_lock)
        guardian.users_gone()

    threading.Thread(target=await_users, daemon=True).start()
    guardian.run()


def _reporter(control: Path) -> Report:
    """Return what writes to guardian.log and, as long as it listens, to whoever started the guardian.

    Standard error becomes the log, so that a surprise is found there.
    """
    for name in ("guardian.log", "postgresql.log", "valkey.log"):
        log = control / name
        if log.exists() and log.stat().st_size > _LOG_OCTETS:
            log.rename(log.with_name(f"{name}.1"))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    os.dup2(os.open(control / "guardian.log", flags, 0o600), 2)

    def report(line: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.write(2, f"{stamp} {line}\n".encode(errors="backslashreplace"))
        try:
            os.write(1, f"{line}\n".encode(errors="backslashreplace"))
        except OSError:
            pass  # who started us listens no more

    return report


if __name__ == "__main__":
    main()
