"""The embedded stores, for whoever uses them: server, mtactl, tests (DESIGN D5).

    stores = start(settings.state_dir, print)
    psycopg2.connect(**stores.database)
    stores.close()                             # or die: the same

A user holds a shared lock on state_dir/embedded.lock as long as it lives, and sees to it that there is a guardian;
the guardian does the rest. Why the races end well:

- Two users start at once: both get the shared lock; one gets guardian.lock and hands it, locked, to a guardian, so
  there is no moment without a holder; the other waits until the servers answer.
- A user comes while a guardian stops the servers: it waits for its shared lock until the guardian has ended.
- A user dies with `kill -9`: its lock is gone with it. Dying before the guardian runs, it takes guardian.lock with it.
- A guardian dies: the servers go on, guardian.lock is free, and the next user's guardian adopts them.
- A server dies: the guardian starts it again.

The lock is kept across fork (twistd's daemonize) and not given to programs that are executed. This module blocks:
it is called before the reactor runs. It knows nothing of schemas.
"""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg2

import mtad
from mtad.adapters.postgres.binaries import locate
from mtad.adapters.postgres.locks import open_lock, take_shared, try_alone, try_shared
from mtad.adapters.postgres.place import FAILED, control_directory, read_record
from mtad.model.errors import InvalidInput, Unavailable

_PATIENCE_SECONDS = 600.0  # recovery after a crash reads up to max_wal_size
_GLANCE_SECONDS = 0.03
_REMIND_SECONDS = 10.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EmbeddedStores:
    """Stores that run at least until `close`.

    `database` are the parameters of a connection in libpq's words, `redis_socket` is the path of Valkey's socket.
    """

    database: dict[str, str]
    redis_socket: str
    lock_descriptor: int

    def close(self) -> None:
        """Use the stores no more; when nobody does they stop. To be called once."""
        os.close(self.lock_descriptor)


def start(state_dir: Path, say: Say) -> EmbeddedStores:
    """Return the stores of `state_dir`, running and answering; `say` is told, in lines, what takes its time.

    A database is made when there is none. Blocks. Raises InvalidInput when the state directory or the installation
    is not fit for it, Unavailable when the stores do not come up.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        state_dir = state_dir.resolve()
        lock = _enter(state_dir, say)
    except OSError as error:
        raise InvalidInput(str(error.filename or state_dir), f"cannot be used: {error.strerror}") from None
    try:
        return _await_stores(state_dir, lock, say)
    except BaseException:
        os.close(lock)
        raise


def _enter(state_dir: Path, say: Say) -> int:
    """Return a descriptor with the shared lock of a user, and have the control directory."""
    lock = open_lock(state_dir / "embedded.lock")
    if not try_shared(lock):
        say("waiting for the embedded stores to stop before they start again")
        take_shared(lock)
    control = control_directory(state_dir)
    try:
        control.mkdir(mode=0o700)
    except FileExistsError:
        return lock
    if os.geteuid() == 0:
        owner = os.stat(state_dir)
        os.chown(control, owner.st_uid, owner.st_gid, follow_symlinks=False)
        # Root's stores run as an account that has to pass through.
        control.chmod(0o711 if owner.st_uid == 0 else 0o700)
    return lock


def _await_stores(state_dir: Path, lock: int, say: Say) -> EmbeddedStores:
    """See to it that there is a guardian, and wait until both servers answer."""
    control = control_directory(state_dir)
    begun = reminded = time.monotonic()
    guardian: _Hired | None = None
    while True:
        if guardian is None:
            guardian = _hire(state_dir)
        if (found := _answering(control, lock)) is not None:
            if guardian:
                guardian.dismiss()
            return found
        if guardian:
            guardian.listen(_GLANCE_SECONDS, say)
        else:
            time.sleep(_GLANCE_SECONDS)
        now = time.monotonic()
        if now - begun > _PATIENCE_SECONDS:
            raise Unavailable("embedded stores", f"do not answer; see the logs in {control}")
        if now - reminded > _REMIND_SECONDS:
            reminded = now
            say(f"waiting for the embedded stores; their logs are in {control}")


def _answering(control: Path, lock: int) -> EmbeddedStores | None:
    """Return the stores if both answer now."""
    record = read_record(control)
    if record is None:
        return None
    database, redis_socket = record["database"], record["redis_socket"]
    if not isinstance(database, dict) or not isinstance(redis_socket, str):
        raise InvalidInput(str(control / "connection.json"), "expected the connection of the embedded stores")
    try:
        psycopg2.connect(**database, connect_timeout=5).close()
    except psycopg2.OperationalError:
        return None
    return EmbeddedStores(database, redis_socket, lock) if _pongs(redis_socket) else None


def _pongs(redis_socket: str) -> bool:
    """Whether Valkey answers; while it loads its data it does not."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(redis_socket)
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


class _Hired:
    """A guardian this process started, as long as it reports."""

    def __init__(self, control: Path, reports: int) -> None:
        self._control = control
        self._reports = reports
        self._unread = b""

    def listen(self, patience_seconds: float, say: Say) -> None:
        """Pass on what the guardian reports; raises Unavailable when it ended."""
        if not select.select([self._reports], [], [], patience_seconds)[0]:
            return
        octets = os.read(self._reports, 4096)
        *lines, self._unread = (self._unread + octets).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "backslashreplace")
            if text.startswith(FAILED):
                self.dismiss()
                raise Unavailable("embedded stores", text.removeprefix(FAILED))
            say(text)
        if not octets:
            self.dismiss()
            raise Unavailable("embedded stores", f"their guardian ended, see {self._control / 'guardian.log'}")

    def dismiss(self) -> None:
        """Listen no more; the guardian goes on."""
        os.close(self._reports)


def _hire(state_dir: Path) -> _Hired | None:
    """Start a guardian unless there is one."""
    control = control_directory(state_dir)
    lock = open_lock(control / "guardian.lock")
    try:
        if not try_alone(lock):
            return None
        locate()
        return _Hired(control, _spawn(state_dir, control, lock))
    finally:
        os.close(lock)


def _spawn(state_dir: Path, control: Path, lock: int) -> int:
    """Start a guardian that has the lock, as whom the control directory belongs to; return where it reports."""
    owner = os.stat(control)
    identity: dict[str, object] = {}
    if os.geteuid() == 0 != owner.st_uid:
        identity = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    reports, theirs = os.pipe()
    try:
        guardian = subprocess.Popen(
            [sys.executable, "-m", "mtad.adapters.postgres.guardian", str(state_dir), str(lock)],
            pass_fds=(lock,),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            cwd=Path(mtad.__file__).parent.parent,
            start_new_session=True,
            **identity,
        )
        guardian.wait()  # it leaves a child behind that is not ours
    except OSError as error:
        os.close(reports)
        raise Unavailable("embedded stores", f"user {owner.st_uid}, whom they belong to: {error}") from None
    finally:
        os.close(theirs)
    return reports
