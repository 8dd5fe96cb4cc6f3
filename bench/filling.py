"""A queue that is full from the start: a PostgreSQL of its own, and rows written straight into its tables."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, ISOLATION_LEVEL_REPEATABLE_READ, connection

from mtad.adapters.postgres import embedded
from mtad.adapters.postgres.migrate import migrate
from tests.stores import wait_stopped

DESTINATIONS = 10
CONTENT_OCTETS = 1024
EMPTY = "truncate messages, message_content, message_queue, message_events, message_keys, nodes, node_slots"
# Rows of many organisations come in turns, as they do from many senders; each was due some time of the last hour.
FILL = """
with new as (
    select i, i % {organisations} + 2 as organisation, 'mx:d' || (i / {organisations}) % {destinations} || '.example'
        as destination, to_timestamp({now}) - abs(hashint8(i)) % 3600 * interval '1 second' as due
    from generate_series({first}, {last}) as i
), m as (
    insert into messages (id, organisation, direction, reverse_path, recipients, content_id, copies, size, received_at)
    select i, organisation, 'outbound', 'ann@outside.example', 1, i, 1, {octets}, due from new
), c as (
    insert into message_content (content_id, n, chunk)
    select i, 0, decode(repeat(md5(i::text), {octets} / 16), 'hex') from new
)
insert into message_queue (message, n, organisation, destination, recipient, status, claim, due, expires_at)
select i, 0, organisation, destination, 'bob@example.org', 'queued', 0, due, due + interval '5 days' from new
"""
HOT = ("messages", "message_content", "message_queue", "nodes")
TIMELINE = ("message_events", "message_keys")
_SIZES = """
with recursive all_of as (
    select %(name)s::regclass::oid as relation
    union select inhrelid from pg_inherits join all_of on inhparent = relation
), parts as (
    select relation from all_of union all
    select reltoastrelid from pg_class join all_of on oid = relation where reltoastrelid <> 0
)
select (select sum(pg_total_relation_size(relation)) from all_of),
    coalesce(sum(n_dead_tup), 0), coalesce(sum(autovacuum_count), 0)
from parts join pg_stat_all_tables on relid = relation
"""


@contextmanager
def private_database(directory: Path) -> Iterator[dict[str, str]]:
    """Lend a migrated PostgreSQL that nobody else uses, below `directory`."""
    state = directory / "state"
    stores = embedded.start(state, print, redis=False)
    try:
        migrate(stores.database)
        yield stores.database
    finally:
        stores.close()
        wait_stopped(state)


class Tables:
    """The queue's tables, seen past all of mtad."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters
        self._connection = self._connect(ISOLATION_LEVEL_AUTOCOMMIT)
        self._next = 1

    def empty(self) -> None:
        """Let there be nothing."""
        self._do(EMPTY)
        self._next = 1

    def fill(self, count: int, organisations: int, now: float) -> None:
        """Add messages of one recipient, queued and due, in turn for each organisation."""
        terms = {
            "organisations": organisations, "destinations": DESTINATIONS, "octets": CONTENT_OCTETS,
            "now": now, "first": self._next, "last": self._next + count - 1,
        }  # fmt: skip
        self._next += count
        self._do(FILL.format(**terms))

    def postpone(self, to: float) -> None:
        """Let nothing be due before that time."""
        self._do(f"update message_queue set due = to_timestamp({to}) where status = 'queued'")

    def vacuum(self) -> None:
        """Do at once what autovacuum would do by and by."""
        for table in HOT:
            self._do(f"vacuum analyze {table}")

    def sizes(self, names: tuple[str, ...]) -> list[tuple[str, int, int, int]]:
        """Return of each table its octets with indexes, TOAST and partitions, its dead rows, and its autovacuums."""
        with self._connection.cursor() as cursor:
            found = []
            for name in names:
                cursor.execute(_SIZES, {"name": name})
                found.append((name, *map(int, cursor.fetchone())))
            return found

    def setting(self, name: str) -> str:
        """Return a setting of the server."""
        with self._connection.cursor() as cursor:
            cursor.execute("select current_setting(%s)", (name,))
            return str(cursor.fetchone()[0])

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Keep a snapshot open, as a pg_dump does: nothing that goes meanwhile can be cleaned away."""
        with closing(self._connect(ISOLATION_LEVEL_REPEATABLE_READ)) as holder:
            with holder.cursor() as cursor:
                cursor.execute("select count(*) from nodes")
            yield

    def close(self) -> None:
        """Ask no more."""
        self._connection.close()

    def _do(self, sql: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)

    def _connect(self, isolation: int) -> connection:
        opened = psycopg2.connect(**self._parameters)
        opened.set_session(isolation_level=isolation) if isolation else opened.set_session(autocommit=True)
        return opened
