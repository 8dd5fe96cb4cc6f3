"""Membership in PostgreSQL (INodes, DESIGN D8).

A node is its row: without it none of its statements does anything, so a node is dead from the moment its row is
deleted, and its rows may be freed at leisure. Owner numbers come from a sequence and never come back; slots come
back, an hour after their last beat by the database's own clock.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from zope.interface import implementer

from mtad.adapters.postgres import events
from mtad.adapters.postgres.pool import Cursor, Pool, Values
from mtad.interfaces import INodes
from mtad.model.address import from_plain
from mtad.model.errors import Unavailable
from mtad.model.event import Fact, freed_event
from mtad.model.identity import SLOTS
from mtad.model.job import TAKEOVERS_UNTIL_HELD, Node, Status
from mtad.model.process import Standing

# Between two beats of a lease of 10 s: what takes longer goes again, on another connection.
STEP_SECONDS = 3.0
_JOIN_LOCK = 0x6D746A6E
_SLICE = 1_000

_FREE_SLOT = """
select slot from node_slots s
where last_beat < clock_timestamp() - interval '1 hour' and not exists (select from nodes n where n.slot = s.slot)
order by slot limit 1
"""
_TAKE_SLOT = """
insert into node_slots (slot, owner, last_beat, last_id) values (%s, %s, clock_timestamp(), 0)
on conflict (slot) do update set owner = excluded.owner, last_beat = excluded.last_beat
returning last_id
"""
# A process that is started again where its host is drained must not take up work by that.
_JOIN = """
insert into nodes (owner, name, slot, started_at, draining)
select %s, %s, %s, to_timestamp(%s), %s or coalesce((select bool_and(draining) from nodes where name = %s), false)
"""
_BEAT = """
with beaten as (update nodes set beat = beat + 1, stats = %s::json where owner = %s returning slot, draining)
update node_slots s set last_beat = clock_timestamp(), last_id = greatest(s.last_id, %s)
from beaten where s.slot = beaten.slot
returning beaten.draining
"""
_DELETE = "delete from nodes where owner = %s"
_DELETE_SILENT = "delete from nodes where owner = %s and beat = %s"
_STANDING = "select owner from nodes where owner = %s"
_GIVE_SLOT_BACK = """
with gone as (delete from nodes where owner = %s returning slot)
update node_slots s set last_beat = '-infinity', last_id = greatest(s.last_id, %s)
from gone where s.slot = gone.slot
"""

# Rows that another node frees at this moment are left to it. An owner that is no node will never be one again.
_ORPHANED = """
select distinct owner from message_queue q
where owner is not null and not exists (select from nodes n where n.owner = q.owner)
"""
# Whatever the planner believes of the queue (`statements`), a slice is read and no more.
_TAKE_OVER = """
with dead as (
    select ctid from message_queue where owner = %s order by message, n limit %s for update skip locked
)
update message_queue q set
    owner = null, due = to_timestamp(%s), taken_over = q.taken_over + 1,
    status = case when q.taken_over + 1 >= %s then 'held' else 'queued' end
where q.ctid = any (array(select ctid from dead))
returning q.message, q.organisation, q.status, q.recipient
"""
_GIVE_BACK = """
with mine as (
    select ctid from message_queue where owner = %s order by message, n limit %s for update skip locked
)
update message_queue q set owner = null, due = to_timestamp(%s), status = 'queued'
where q.ctid = any (array(select ctid from mine))
"""


@implementer(INodes)
class PostgresNodes:
    """Membership over a pool, best one of its own: what else is asked must not keep a beat waiting."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def join(self, name: str, now: float, draining: bool = False) -> Node:
        """See INodes."""

        async def work(cursor: Cursor) -> Node:
            await cursor.query("select pg_advisory_xact_lock(%s)", (_JOIN_LOCK,))
            ((owner,),) = await cursor.query("select nextval('node_owners')")
            free = await cursor.query(_FREE_SLOT)
            ((slot,),) = free or await cursor.query("select coalesce(max(slot) + 1, 0) from node_slots")
            if slot >= SLOTS:
                raise Unavailable("postgres", f"all {SLOTS} slots of nodes are taken or rest for an hour")
            ((last_id,),) = await cursor.query(_TAKE_SLOT, (slot, owner))
            await cursor.execute(_JOIN, (owner, name, slot, now, draining, name))
            return Node(owner, slot, last_id)

        return await self._pool.interact(work, timeout_seconds=STEP_SECONDS)

    async def beat(self, owner: int, last_id: int, stats: dict[str, Fact]) -> Standing:
        """See INodes."""
        beaten = await self._query(_BEAT, (msgspec.json.encode(stats).decode(), owner, last_id))
        if not beaten:
            return Standing.GONE
        return Standing.DRAINING if beaten[0][0] else Standing.WORKING

    async def beats(self) -> dict[int, int]:
        """See INodes."""
        return dict(await self._query("select owner, beat from nodes"))

    async def take_over(self, owner: int, beat: int, now: float) -> int | None:
        """See INodes."""
        await self._query(_DELETE_SILENT, (owner, beat))
        if await self._query(_STANDING, (owner,)):
            return None
        return await self._free(owner, now)

    async def free_orphans(self, now: float) -> int:
        """See INodes."""
        return sum([await self._free(owner, now) for (owner,) in await self._query(_ORPHANED)])

    async def leave(self, owner: int, now: float, last_id: int | None = None) -> int:
        """See INodes."""
        # Before its row goes, or others would count its rows as taken over.
        freed = await self._give_back(owner, now)
        if last_id is None:
            await self._query(_DELETE, (owner,))
        else:
            await self._query(_GIVE_SLOT_BACK, (owner, last_id))
        return freed + await self._give_back(owner, now)

    async def _free(self, owner: int, now: float) -> int:
        """Free a dead node's rows in slices, counting each row's takeovers, and tell of it."""

        async def work(cursor: Cursor) -> int:
            rows = await cursor.query(_TAKE_OVER, (owner, _SLICE, now, TAKEOVERS_UNTIL_HELD))
            for at, message, organisation, kinds, octets in _told(rows, now):
                await cursor.execute(events.TELL, (at, message, organisation, kinds, octets))
            return len(rows)

        total = 0
        while freed := await self._pool.interact(work, timeout_seconds=STEP_SECONDS):
            total += freed
        return total

    async def _give_back(self, owner: int, now: float) -> int:
        total = 0
        give_back = (owner, _SLICE, now)
        while freed := await self._pool.interact(
            lambda cursor: cursor.execute(_GIVE_BACK, give_back), timeout_seconds=STEP_SECONDS
        ):
            total += freed
        return total

    async def _query(self, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
        return await self._pool.query(sql, values, timeout_seconds=STEP_SECONDS)


def _told(rows: Iterable[tuple[int, int, str, str]], now: float) -> Iterable[tuple[float, int, int, str, bytes]]:
    """Return an event's row for each message and for what became of its rows."""
    messages: dict[tuple[int, int, str], list[str]] = {}
    for message, organisation, status, recipient in rows:
        messages.setdefault((message, organisation, status), []).append(str(from_plain(recipient)))
    for (message, organisation, status), recipients in messages.items():
        event = freed_event(now, recipients, status == Status.HELD.value)
        yield now, message, organisation, *events.encoded_anyway((event,))
