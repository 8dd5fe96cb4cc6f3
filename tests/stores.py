"""The databases that tests use: a fresh, migrated one for whoever asks, and a Redis.

MTAD_TEST_DATABASE (a libpq connection string or URL whose user may create databases) and MTAD_TEST_REDIS
(`host:port` or the path of a unix socket) name servers to use; without them the embedded stores are used, the same
ones in all processes that run tests, below MTAD_TEST_STATE or else a directory of this checkout and user. Databases
are copies of one template, made when the migrations changed; they are dropped when the process ends.
"""

import atexit
import hashlib
import os
import secrets
import tempfile
import threading
from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from mtad.adapters.postgres import embedded
from mtad.adapters.postgres.locks import open_lock, take_alone
from mtad.adapters.postgres.migrate import migrate, shipped
from mtad.adapters.postgres.place import Store, control_directory

# Any number that nobody else uses: one template is made at a time.
_TEMPLATE_LOCK = 7_205_759


def database() -> dict[str, str]:
    """Return the connection parameters of a fresh migrated database; blocks for some 50 ms."""
    server = _server()
    template = _template()
    name = f"mtad_test_{os.getpid()}_{secrets.token_hex(4)}"
    _run(server, f"create database {name} template {template}")
    atexit.register(_run, server, f"drop database if exists {name} with (force)")
    return {**server, "dbname": name}


def redis_address() -> str:
    """Return `host:port` or the path of a unix socket. All tests share it: use keys of your own."""
    return os.environ.get("MTAD_TEST_REDIS") or _stores().redis_socket


def wait_stopped(state_dir: Path, patience_seconds: float = 60.0, stores: Iterable[Store] = tuple(Store)) -> bool:
    """Return once none of the stores has a guardian, and so none runs; False if one stays longer than that."""
    locks = [open_lock(store.guardian_lock(control_directory(state_dir))) for store in stores]
    waiting = [threading.Thread(target=take_alone, args=(lock,), daemon=True) for lock in locks]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(patience_seconds)
    for lock in locks:
        os.close(lock)
    return not any(thread.is_alive() for thread in waiting)


@cache
def _stores() -> embedded.EmbeddedStores:
    stores = embedded.start(_state_directory(), print)
    atexit.register(stores.close)
    return stores


def _state_directory() -> Path:
    named = os.environ.get("MTAD_TEST_STATE")
    if named:
        return Path(named)
    checkout = hashlib.sha256(os.fsencode(Path(__file__).resolve())).hexdigest()[:12]
    directory = Path(tempfile.gettempdir(), f"mtad-tests-{os.getuid()}-{checkout}")
    directory.mkdir(mode=0o755, exist_ok=True)
    if directory.is_symlink() or directory.stat().st_uid != os.getuid():
        raise RuntimeError(f"{directory} belongs to somebody else: set MTAD_TEST_STATE")
    return directory


@cache
def _server() -> dict[str, str]:
    """Return parameters of a connection that may create databases."""
    named = os.environ.get("MTAD_TEST_DATABASE")
    return dict(parse_dsn(named)) if named else _stores().database


@cache
def _template() -> str:
    """Return the name of a migrated database that nobody is connected to."""
    migrations = "".join(migration.sql for migration in shipped())
    name = f"mtad_template_{hashlib.sha256(migrations.encode()).hexdigest()[:16]}"
    server = _server()
    with closing(_connected(server)) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_lock(%s)", (_TEMPLATE_LOCK,))
        cursor.execute("select 1 from pg_database where datname = %s", (name,))
        if not cursor.fetchone():
            making = f"{name}_making"
            cursor.execute(f"drop database if exists {making}")
            cursor.execute(f"create database {making}")
            migrate({**server, "dbname": making})
            cursor.execute(f"alter database {making} rename to {name}")
    return name


def _run(parameters: Mapping[str, str], statement: str) -> None:
    with closing(_connected(parameters)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def _connected(parameters: Mapping[str, str]) -> "psycopg2.extensions.connection":
    connection = psycopg2.connect(make_dsn(**parameters))
    connection.autocommit = True
    return connection
