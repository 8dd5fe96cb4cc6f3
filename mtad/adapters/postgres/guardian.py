"""The guardian: a process that runs one embedded store as long as somebody uses it, and then stops it (DESIGN D5).

    python -m mtad.adapters.postgres.guardian STATE_DIR STORE DESCRIPTOR

A user starts it (`embedded.start`) and hands it the guardian's lock, already locked, as DESCRIPTOR. It leaves that
user's session, so whatever ends the user does not end it. It alone starts and stops the server.

It holds nothing on the users' lock while there are users: a thread waits for the exclusive lock, which the kernel
grants when the last user closed its shared one or died. Then it stops the server, gives up the guardian's lock, and
only then, by ending, the users'. So a user who comes while it stops waits for a shared lock until all is stopped; and
whoever has a shared lock and finds the guardian's lock taken has a guardian that will not stop for want of users.

A server that ends although there are users is started again; when it does not stay up the guardian ends, and the next
user gets to read why. Signals that end other programs are ignored, so that at a shutdown of
the machine the users end first. It imports little and does nothing with the data.
"""

import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from mtad.adapters.postgres import servers
from mtad.adapters.postgres.accounts import own
from mtad.adapters.postgres.binaries import lent_to
from mtad.adapters.postgres.kept import Kept
from mtad.adapters.postgres.locks import open_lock, take_alone
from mtad.adapters.postgres.place import Place, Store, control_directory, settle
from mtad.adapters.postgres.servers import Server
from mtad.model.errors import MtadError

# How the last report begins of a guardian that gives up.
FAILED = "failed: "
_LOG_OCTETS = 10 * 1024 * 1024
_STOP_SECONDS = 120.0
_HURRY_SECONDS = 10.0

Report = Callable[[str], None]


class Guardian:
    """Keeps servers up until `users_gone`, then stops them."""

    def __init__(self, wanted: Sequence[Server], report: Report) -> None:
        self._events: SimpleQueue[Kept | None] = SimpleQueue()
        self._kept = [Kept(server, self._events) for server in wanted]
        self._up: set[Kept] = set()
        self._report = report

    def users_gone(self) -> None:
        """Say, from any thread, that nobody uses the servers any more."""
        self._events.put(None)

    def run(self) -> None:
        """Return when there are no users and no servers; Unavailable when a server cannot be kept up."""
        try:
            for kept in self._kept:
                self._begin(kept)
            while gone := self._events.get():
                self._forget(gone)
                self._report(f"{gone.server.name} ended while in use, starting it again")
                self._begin(gone)
        finally:
            self._stop()

    def _begin(self, kept: Kept) -> None:
        kept.begin()
        self._up.add(kept)

    def _forget(self, kept: Kept) -> None:
        kept.reap()
        self._up.discard(kept)

    def _stop(self) -> None:
        """Stop what is up, cleanly if that can be had."""
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
                self._forget(gone)


def main() -> None:
    """Run as the guardian of the store, in the state directory, that the command line names."""
    state_dir, store, guardian_lock = Path(sys.argv[1]), Store(sys.argv[2]), int(sys.argv[3])
    if os.fork():
        os._exit(0)
    os.set_inheritable(guardian_lock, False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Caught, not ignored: what is ignored stays so in the servers, which then miss a signal in their first moment.
        signal.signal(number, lambda *_: None)
    os.chdir("/")
    os.umask(0o077)
    report = _reporter(control_directory(state_dir), store)
    try:
        _guard(state_dir, store, report)
    except (MtadError, OSError) as error:
        report(f"{FAILED}{error}")
        sys.exit(1)
    finally:
        # Before the users' lock, which goes with the process: the order matters, see above.
        os.close(guardian_lock)


def _guard(state_dir: Path, store: Store, report: Report) -> None:
    """Make what lacks, then keep the server up until the users are gone."""
    place = settle(state_dir, lambda: secrets.token_hex(24), report)
    prepared = _postgres(place, report) if store is Store.POSTGRES else _valkey(place)
    guardian = Guardian([prepared], report)
    users_lock = open_lock(store.users_lock(state_dir))

    def await_users() -> None:
        take_alone(users_lock)
        guardian.users_gone()

    threading.Thread(target=await_users, daemon=True).start()
    guardian.run()


def _postgres(place: Place, report: Report) -> Server:
    binaries = lent_to(place.account)
    servers.write_access_file(place)
    if not place.postgres_data.exists():
        report(f"creating the embedded database in {place.postgres_data}")
        servers.create_database(place, binaries)
    return servers.postgres(place, binaries)


def _valkey(place: Place) -> Server:
    own(place.valkey_data, place.account)
    return servers.valkey(place, lent_to(place.account))


def _reporter(control: Path, store: Store) -> Report:
    """Return what writes to the guardian's log and, as long as it listens, to whoever started the guardian.

    Standard error becomes the log, so that a surprise is found there. Logs that grew long are begun anew.
    """
    for log in (store.guardian_log(control), store.log(control)):
        if log.exists() and log.stat().st_size > _LOG_OCTETS:
            log.rename(log.with_name(f"{log.name}.1"))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    os.dup2(os.open(store.guardian_log(control), flags, 0o600), 2)

    def report(line: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for descriptor, text in ((2, f"{stamp} {line}\n"), (1, f"{line}\n")):
            try:
                os.write(descriptor, text.encode("utf-8", "backslashreplace"))
            except OSError:
                pass  # a full disk, or who started us listens no more: the stores matter more

    return report


if __name__ == "__main__":
    main()
