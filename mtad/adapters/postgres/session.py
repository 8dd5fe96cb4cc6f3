"""How every connection to PostgreSQL is opened, and what its errors mean to the rest of mtad.

A connection of ours bounds its statements and its idle transactions itself, commits synchronously and names itself
in `pg_stat_activity`. Trouble with the server is `Unavailable`; an error in a statement or its data stays what
psycopg2 raised, for the caller to judge. This module opens nothing.
"""

from collections.abc import Mapping

import psycopg2
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IReactorFDSet, IReactorTime

from mtad.model.errors import Unavailable
from mtad.model.text import shown

Parameters = Mapping[str, str | int]
"""libpq's keywords: host, port, dbname, user, password, sslmode and the like."""

StatementError = psycopg2.Error
"""What a statement that the server refuses raises, when it is no Unavailable."""

# SQLSTATE classes that say "not now" rather than "not this": connection, rollback, resources, state, operator, system.
_TROUBLE_CLASSES = frozenset({"08", "40", "53", "55", "57", "58"})
# read_only_sql_transaction: a failover left us on a standby. idle_in_transaction_session_timeout.
_TROUBLE_CODES = frozenset({"25006", "25P03"})


class IReactor(IReactorTime, IReactorFDSet):
    """What txpostgres needs of a reactor."""


def session_parameters(parameters: Parameters, name: str, statement_timeout_seconds: float) -> dict[str, str | int]:
    """Return `parameters` with the settings of our sessions; `name` is what pg_stat_activity shows.

    A statement timeout of 0 is none.
    """
    milliseconds = round(statement_timeout_seconds * 1000)
    settings = {
        "statement_timeout": milliseconds,
        "idle_in_transaction_session_timeout": milliseconds,
        "synchronous_commit": "on",
        "TimeZone": "UTC",
    }
    options = [str(parameters.get("options", "")), *(f"-c {key}={value}" for key, value in settings.items())]
    return {
        **parameters,
        "application_name": name,
        "client_encoding": "UTF8",
        "options": " ".join(options).strip(),
    }


def reason(error: BaseException) -> str:
    """Return what an error says, on one line and fit to be shown."""
    return shown(" ".join(str(error).split())) or type(error).__name__


def unavailable(error: BaseException) -> Unavailable | None:
    """Return the Unavailable an error of the connection or the server stands for; None for any other error."""
    if isinstance(error, ConnectionClosed):
        return Unavailable("postgres", "the connection was lost")
    if not isinstance(error, psycopg2.Error):
        return None
    code = error.pgcode or ""
    trouble = (
        isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError))
        or code[:2] in _TROUBLE_CLASSES
        or code in _TROUBLE_CODES
    )
    return Unavailable("postgres", reason(error)) if trouble else None
