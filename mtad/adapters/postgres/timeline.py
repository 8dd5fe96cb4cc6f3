"""The timeline in PostgreSQL (ITimeline, DESIGN §5): what the queue's statements wrote, read back and kept tidy.

Events and keys live in partitions of a day (UTC), made a week ahead; what falls into none lands in a default one.
Partitions go by plain DETACH under a short `lock_timeout`: PostgreSQL has no DETACH CONCURRENTLY beside a default
partition ("Partition maintenance" in the manual). Writers wait for it for as long at most.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from psycopg2.errors import CheckViolation
from twisted.logger import Logger
from zope.interface import implementer

from mtad.adapters.postgres import events
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.interfaces import ITimeline
from mtad.model.event import Happening
from mtad.model.key import key_number

_log = Logger()
_DAYS_AHEAD = 7
_MAINTENANCE_LOCK = 0x6D74706D
_TABLES = ("message_events", "message_keys")
_NAME = re.compile(r"(message_events|message_keys)_p(\d{8})")

_STORY = """
select organisation, extract(epoch from at)::float8, events from message_events where message = %s order by at
"""
_SEARCH = """
select distinct message from message_keys
where key = %s and (%s::bigint is null or organisation = %s)
order by message desc limit %s
"""
_PRUNE = (
    "delete from message_events_default where at < to_timestamp(%s)",
    "delete from message_keys_default where at < to_timestamp(%s)",
)
_PARTITIONS = """
select c.relname, i.inhrelid is not null
from pg_class c left join pg_inherits i on i.inhrelid = c.oid
where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r' and c.relname ~ %s
"""

# Not to_regclass: it believes a cache that does not yet know what another session committed a moment ago.
_EXISTS = """
select exists (select from pg_class where relname = %s and relnamespace = current_schema()::regnamespace)
"""


@dataclass(frozen=True, slots=True)
class _Partition:
    """A day of a table. Names are ours, so they may be put into SQL as they are."""

    table: str
    day: date

    @property
    def name(self) -> str:
        return f"{self.table}_p{self.day:%Y%m%d}"

    def creation(self) -> Iterator[str]:
        """Make it and hang it in; ATTACH, unlike CREATE … PARTITION OF, lets writers go on."""
        bounds = f"from ('{self.day} 00:00:00+00') to ('{self.day + timedelta(days=1)} 00:00:00+00')"
        yield f"create table {self.name} (like {self.table} including all)"
        yield f"alter table {self.table} attach partition {self.name} for values {bounds}"

    def removal(self, attached: bool) -> Iterator[str]:
        """Take it out and drop it."""
        if attached:
            yield f"alter table {self.table} detach partition {self.name}"
        yield f"drop table {self.name}"


@implementer(ITimeline)
class PostgresTimeline:
    """The timeline over a pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def story(self, message: int) -> list[Happening]:
        """See ITimeline."""
        rows = await self._pool.query(_STORY, (message,))
        return [
            Happening(message, organisation, at, events.decoded(bytes(octets))) for organisation, at, octets in rows
        ]

    async def search(self, key: str, limit: int, organisation: int | None = None) -> list[int]:
        """See ITimeline."""
        found = await self._pool.query(_SEARCH, (key_number(key), organisation, organisation, limit))
        return [message for (message,) in found]

    async def maintain(self, now: float, keep_seconds: float) -> None:
        """See ITimeline. Any number of processes may do it at once: one does the work, the others leave it to it."""
        today = datetime.fromtimestamp(now, UTC).date()
        first_kept = datetime.fromtimestamp(now - keep_seconds, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        present = await self._present()
        days = [today + timedelta(days=ahead) for ahead in range(_DAYS_AHEAD + 1)]
        for partition in [_Partition(table, day) for table in _TABLES for day in days]:
            if partition not in present:
                await self._create(partition)
        for partition, attached in present.items():
            if partition.day < first_kept.date():
                await self._change(partition, True, partition.removal(attached))
        for statement in _PRUNE:
            await self._pool.query(statement, (first_kept.timestamp(),))

    async def _present(self) -> dict[_Partition, bool]:
        """Return the partitions there are, and whether they are attached: a crash may have left one that is not."""
        found = {}
        for name, attached in await self._pool.query(_PARTITIONS, (f"^{_NAME.pattern}$".replace("\\d", "[0-9]"),)):
            match = _NAME.fullmatch(name)
            assert match is not None
            found[_Partition(match[1], date.fromisoformat(match[2]))] = attached
        return found

    async def _create(self, partition: _Partition) -> None:
        try:
            await self._change(partition, False, partition.creation())
        except CheckViolation:
            _log.info("The default partition has rows of {name}: that day stays there", name=partition.name)

    async def _change(self, partition: _Partition, exists: bool, statements: Iterator[str]) -> None:
        """Run statements in one transaction, unless another process was faster, or is about it at this moment."""

        async def work(cursor: Cursor) -> None:
            await cursor.execute("set local lock_timeout = '500ms'")
            ((mine,),) = await cursor.query("select pg_try_advisory_xact_lock(%s)", (_MAINTENANCE_LOCK,))
            ((there,),) = await cursor.query(_EXISTS, (partition.name,))
            if mine and there == exists:
                for statement in statements:
                    await cursor.execute(statement)

        await self._pool.interact(work)
