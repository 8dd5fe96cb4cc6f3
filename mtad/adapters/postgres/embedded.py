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
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from mtad.adapters.postgres.hiring import Hired, hire
from mtad.adapters.postgres.locks import open_lock, take_shared, try_shared
from mtad.adapters.postgres.place import Connection, control_directory, read_connection
from mtad.model.errors import InvalidInput, Unavailable

_PATIENCE_SECONDS = 600.0  # recovery after a crash reads up to max_wal_size
_ANSWER_SECONDS = 5
_QUIET_SECONDS = 2.0
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
        lock = open_lock(state_dir / "embedded.lock")
        try:
            _enter(lock, say)
            found = _await_stores(state_dir, say)
        except BaseException:
            os.close(lock)
            raise
    except OSError as error:
        raise InvalidInput(str(error.filename or state_dir), f"cannot be used: {error.strerror}") from None
    return EmbeddedStores(found.database, found.redis_socket, lock)


def _enter(lock: int, say: Say) -> None:
    """Become a user, after the guardian that may be stopping the stores."""
    deadline = time.monotonic() + _QUIET_SECONDS
    while not try_shared(lock):
        if time.monotonic() > deadline:
            say("waiting for the embedded stores to stop before they start again")
            take_shared(lock)
            return
        time.sleep(_GLANCE_SECONDS)


def _await_stores(state_dir: Path, say: Say) -> Connection:
    """See to it that there is a guardian, and wait until both servers answer."""
    control = _control(state_dir)
    begun = reminded = time.monotonic()
    hired: Hired | None = None
    try:
        while True:
            hired = hired or hire(state_dir, control)
            found = read_connection(control)
            trouble = _trouble(found) if found else "there is no database yet"
            if found and not trouble:
                return found
            if hired:
                hired.listen(_GLANCE_SECONDS, say)
            else:
                time.sleep(_GLANCE_SECONDS)
            now = time.monotonic()
            if now - begun > _PATIENCE_SECONDS:
                raise Unavailable("embedded stores", f"{trouble}; see the logs in {control}")
            if now - reminded > _REMIND_SECONDS:
                reminded = now
                say(f"still waiting for the embedded stores: {trouble}; their logs are in {control}")
    finally:
        if hired:
            hired.dismiss()


def _control(state_dir: Path) -> Path:
    """Have a control directory; it belongs to whom the state directory belongs to."""
    control = control_directory(state_dir)
    try:
        control.mkdir(mode=0o700)
    except FileExistsError:
        return control
    if os.geteuid() == 0:
        owner = state_dir.stat()
        os.chown(control, owner.st_uid, owner.st_gid, follow_symlinks=False)
        if owner.st_uid == 0:
            control.chmod(0o711)  # root's stores run as an account that has to pass through
    return control


def _trouble(connection: Connection) -> str:
    """Return in a line why the servers cannot be used yet; empty when both answer."""
    try:
        psycopg2.connect(**connection.database, connect_timeout=_ANSWER_SECONDS).close()
    except psycopg2.OperationalError as error:
        return " ".join(str(error).split())
    with socket.socket(socket.AF_UNIX) as valkey:
        valkey.settimeout(_ANSWER_SECONDS)
        try:
            valkey.connect(connection.redis_socket)
            valkey.sendall(b"PING\r\n")
            answer = valkey.recv(64)
        except OSError as error:
            return f"Valkey: {error}"
    return "" if answer.startswith(b"+PONG") else f"Valkey: {answer!r}"
