"""The schema brought up to date: forward-only numbered SQL files, each applied once (DESIGN §5).

Each file of `mtad.migrations` is a transaction that records itself in `schema_version`, so that it runs under plain
`psql -f` as well; a file that fails leaves nothing. Any number of processes may migrate at the same time: one does
the work under an advisory lock, the others find it done. A database whose schema asks for newer code is refused.

Waits for the server, and so runs before the reactor does, in `IOffload` or on the command line.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg2

from mtad.adapters.postgres.session import Parameters, reason, session_parameters, unavailable
from mtad.model.errors import InvalidInput, Unavailable

_FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")
_LOCK = 0x6D746164  # "mtad"
_LOCK_WAIT_SECONDS = 60
_CONNECT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Migration:
    """One file; `number` is the schema version it leads to."""

    number: int
    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class _State:
    """What a database says of itself: the migrations it had, and the oldest code that may use it."""

    applied: frozenset[int]
    oldest_code: int


def shipped() -> list[Migration]:
    """Return the migrations of this code, in order; the last one's number is this code's version."""
    found = []
    for file in resources.files("mtad.migrations").iterdir():
        match = _FILE_NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), file.name, file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


def migrate(parameters: Parameters) -> list[int]:
    """Apply what is pending and return its numbers, in order.

    Raises InvalidInput for a database that needs newer code or is not UTF-8, and Unavailable for one that cannot
    be reached or fails a migration; the migrations before that one stay.
    """
    migrations = shipped()
    with _connection(parameters) as cursor:
        cursor.execute("set lock_timeout = %s", (f"{_LOCK_WAIT_SECONDS}s",))
        cursor.execute("select pg_advisory_lock(%s)", (_LOCK,))
        pending = _pending(_state(cursor), migrations)
        for migration in pending:
            _apply(cursor, migration)
    return [migration.number for migration in pending]


def check(parameters: Parameters) -> None:
    """Return when the database is fit for this code as it is; change nothing.

    Raises InvalidInput that names the migrations it lacks, or says that it needs newer code; Unavailable as
    `migrate` does.
    """
    migrations = shipped()
    with _connection(parameters) as cursor:
        pending = _pending(_state(cursor), migrations)
    if pending:
        names = ", ".join(migration.name for migration in pending)
        raise InvalidInput("database", f"its schema lacks {names}; run `mtactl migrate`")


@contextmanager
def _connection(parameters: Parameters) -> Iterator[Any]:
    """Lend a cursor of an autocommitting connection; its troubles become Unavailable."""
    try:
        connection = psycopg2.connect(
            **{"connect_timeout": _CONNECT_SECONDS, **session_parameters(parameters, "mtad migrate", 0)}
        )
    except psycopg2.Error as error:
        raise Unavailable("postgres", reason(error)) from error
    try:
        connection.autocommit = True
        yield connection.cursor()
    except psycopg2.Error as error:
        raise unavailable(error) or Unavailable("postgres", reason(error)) from error
    finally:
        connection.close()


def _state(cursor: Any) -> _State:
    cursor.execute("select current_setting('server_encoding'), to_regclass('schema_version') is not null")
    encoding, exists = cursor.fetchone()
    if encoding != "UTF8":
        raise InvalidInput("database", f"its encoding is {encoding}, expected UTF8")
    if not exists:
        return _State(frozenset(), 0)
    cursor.execute("select version, oldest_code from schema_version")
    rows = cursor.fetchall()
    return _State(frozenset(version for version, _ in rows), max((oldest for _, oldest in rows), default=0))


def _pending(state: _State, migrations: list[Migration]) -> list[Migration]:
    """Return the migrations a database lacks; InvalidInput when it is not for this code."""
    code = migrations[-1].number
    if state.oldest_code > code:
        raise InvalidInput(
            "database", f"its schema needs mtad of schema version {state.oldest_code} or later, this is {code}"
        )
    return [migration for migration in migrations if migration.number not in state.applied]


def _apply(cursor: Any, migration: Migration) -> None:
    try:
        cursor.execute(migration.sql)
    except psycopg2.Error as error:
        raise Unavailable("postgres", f"migration {migration.name} failed: {reason(error)}") from error
