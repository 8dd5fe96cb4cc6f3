"""The embedded stores, for whoever uses them: server, mtactl, tests (DESIGN D5).

    stores = start(settings.state_dir, print, redis=False)
    psycopg2.connect(**stores.database)
    stores.close()                             # or die: the same

There are two stores, and who uses one need not use the other: each has its own locks and its own guardian. A user holds
a shared lock for each store it wants as long as it lives, and sees to it that the store has a guardian; the guardian
does the rest. Why the races end well:

- Two users start at once: both get the shared lock; one gets the guardian's lock and hands it, locked, to a guardian,
  so there is no moment without a holder; the other waits until the server answers.
- A user comes while a guardian stops its server: it waits for its shared lock until the guardian has ended.
- A user dies with `kill -9`: its locks are gone with it; dying before the guardian runs, that one's lock as well.
- A guardian dies: its server goes on, its lock is free, and the next user's guardian adopts the server.
- A server dies: the guardian starts it again.

The locks are kept across fork (twistd's daemonize) and not given to programs that are executed. This module blocks: it
is called before the reactor runs. It knows nothing of schemas.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from mtad.adapters.postgres.hiring import Hired, hire
from mtad.adapters.postgres.locks import open_lock, take_shared, try_shared
from mtad.adapters.postgres.place import Connection, Store, control_directory, read_connection
from mtad.model.errors import InvalidInput, Unavailable

_PATIENCE_SECONDS = 600.0  # recovery after a crash reads up to max_wal_size
_ANSWER_SECONDS = 5
_QUIET_SECONDS = 2.0
_GLANCE_SECONDS = 0.03
_REMIND_SECONDS = 10.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EmbeddedStores:
    """Stores that run, if they were wanted, at least until `close`.

    `database` are the parameters of a connection in libpq's words, `redis_socket` is the path of Valkey's socket.
    """

    database: dict[str, str]
    redis_socket: str
    lock_descriptors: tuple[int, ...]

    def close(self) -> None:
        """Use the stores no more; when nobody does they stop. To be called once."""
        for lock in self.lock_descriptors:
            os.close(lock)


def start(state_dir: Path, say: Say, *, database: bool = True, redis: bool = True) -> EmbeddedStores:
    """Return the stores of `state_dir`, those wanted running and answering; `say` hears in lines what takes its time.

    A database is made when there is none. Blocks. Raises InvalidInput when the state directory or the installation
    is not fit for it, Unavailable when the stores do not come up.
    """
    wanted = [store for store, want in ((Store.POSTGRES, database), (Store.VALKEY, redis)) if want]
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        return _start(state_dir.resolve(), wanted, say)
    except OSError as error:
        raise InvalidInput(str(error.filename or state_dir), f"cannot be used: {error.strerror}") from None


def _start(state_dir: Path, wanted: Sequence[Store], say: Say) -> EmbeddedStores:
    locks: list[int] = []
    try:
        for store in wanted:
            locks.append(open_lock(store.users_lock(state_dir)))
            _enter(locks[-1], say)
        found = _await_stores(state_dir, wanted, say)
    except BaseException:
        for lock in locks:
            os.close(lock)
        raise
    return EmbeddedStores(found.database, found.redis_socket, tuple(locks))


def _enter(lock: int, say: Say) -> None:
    """Become a user, after the guardian that may be stopping the stores."""
    deadline = time.monotonic() + _QUIET_SECONDS
    while not try_shared(lock):
        if time.monotonic() > deadline:
            say("waiting for the embedded stores to stop before they start again")
            take_shared(lock)
            return
        time.sleep(_GLANCE_SECONDS)


def _await_stores(state_dir: Path, wanted: Sequence[Store], say: Say) -> Connection:
    """See to it that each store wanted has a guardian, and wait until all of them answer."""
    control = _control(state_dir)
    begun = reminded = time.monotonic()
    hired: dict[Store, Hired] = {}
    try:
        while True:
            _hire(state_dir, control, [store for store in wanted if store not in hired], hired)
            found = read_connection(control)
            trouble = _trouble(found, wanted) if found else "there is nothing yet"
            if found and not trouble:
                return found
            _listen(list(hired.values()), say)
            now = time.monotonic()
            if now - begun > _PATIENCE_SECONDS:
                raise Unavailable("embedded stores", f"{trouble}; see the logs in {control}")
            if now - reminded > _REMIND_SECONDS:
                reminded = now
                say(f"still waiting for the embedded stores: {trouble}; their logs are in {control}")
    finally:
        for guardian in hired.values():
            guardian.dismiss()


def _hire(state_dir: Path, control: Path, stores: Sequence[Store], hired: dict[Store, Hired]) -> None:
    for store in stores:
        guardian = hire(state_dir, control, store)
        if guardian:
            hired[store] = guardian


def _listen(hired: Sequence[Hired], say: Say) -> None:
    """Let a moment pass, and hear what the guardians report meanwhile."""
    if not hired:
        time.sleep(_GLANCE_SECONDS)
    for guardian in hired:
        guardian.listen(_GLANCE_SECONDS / len(hired), say)


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


def _trouble(connection: Connection, wanted: Sequence[Store]) -> str:
    """Return in a line why a store wanted cannot be used yet; empty when all answer."""
    ask = {Store.POSTGRES: _postgres_trouble, Store.VALKEY: _valkey_trouble}
    return next(filter(None, (ask[store](connection) for store in wanted)), "")


def _postgres_trouble(connection: Connection) -> str:
    try:
        psycopg2.connect(**connection.database, connect_timeout=_ANSWER_SECONDS).close()
    except psycopg2.OperationalError as error:
        return " ".join(str(error).split())
    return ""


def _valkey_trouble(connection: Connection) -> str:
    with socket.socket(socket.AF_UNIX) as valkey:
        valkey.settimeout(_ANSWER_SECONDS)
        try:
            valkey.connect(connection.redis_socket)
            valkey.sendall(b"PING\r\n")
            answer = valkey.recv(64)
        except OSError as error:
            return f"Valkey: {error}"
    return "" if answer.startswith(b"+PONG") else f"Valkey: {answer!r}"
