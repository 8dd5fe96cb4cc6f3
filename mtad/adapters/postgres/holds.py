"""Holds in PostgreSQL (IHolds, DESIGN §5).

A hold that is over is first marked so, then its rows are freed, 1 000 a transaction, by whoever comes to it: the
command that released it, and every node now and then. Whatever ends in between, somebody goes on. Rows whose hold does
not even exist any more, for it went with its organisation, are freed alike. What is over is forgotten after a month;
until then a claim sees by it how long a row waited behind it (`statements`).

The table's trigger notifies of every change.
"""

from dataclasses import dataclass

from zope.interface import implementer

from mtad.adapters.postgres import care, events
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.interfaces import IHolds
from mtad.model.address import from_plain
from mtad.model.event import kept_event, let_go_event
from mtad.model.hold import FREED_AT_ONCE, HOLDS_KEPT_SECONDS, Hold, HoldScope
from mtad.model.identity import parse_id
from mtad.model.job import Waiting

UNKNOWN = "the end of its hold"
"""Who released a row whose hold does not exist any more."""

_ACTIVE = """
select id, scope, what, organisation, reason, held_by, extract(epoch from created_at)::float8,
    extract(epoch from expires_at)::float8
from holds where released_at is null order by id
"""
_PLACE = """
insert into holds (scope, what, organisation, reason, held_by, created_at, expires_at)
values (%s, %s, %s, %s, %s, to_timestamp(%s), to_timestamp(%s)) returning id
"""
# What waits of a single message need not wait for its turn to be seen as held.
_KEEP = """
update message_queue set status = 'held', hold = %s, due = to_timestamp(%s) where message = %s and status = 'queued'
returning organisation, recipient
"""
_RELEASE = """
update holds set released_at = to_timestamp(%s), released_by = %s where id = %s and released_at is null
"""
_EXPIRE = """
update holds set released_at = to_timestamp(%s), released_by = 'its expiry'
where released_at is null and expires_at <= to_timestamp(%s)
"""
_ANY_EXPIRED = "select 1 from holds where released_at is null and expires_at <= to_timestamp(%s) limit 1"
_FORGET = """
delete from holds h where released_at < to_timestamp(%s) and not exists (select from message_queue where hold = h.id)
"""
_ANY_FORGOTTEN = "select 1 from holds where released_at < to_timestamp(%s) limit 1"

# One descent of the index a hold that keeps rows. What another frees at this moment is left to it.
_FREE = """
with recursive kept (hold) as (
    (select hold from message_queue where hold is not null order by hold limit 1)
    union all
    select (select q.hold from message_queue q where q.hold > kept.hold order by q.hold limit 1)
    from kept where kept.hold is not null
), over as (
    select kept.hold, coalesce(h.released_by, %s) as released_by
    from kept left join holds h on h.id = kept.hold
    where kept.hold is not null and (h.id is null or h.released_at is not null)
), picked as (
    select q.message, q.n, over.released_by
    from message_queue q join over on over.hold = q.hold
    where q.hold is not null and q.status = 'held'
    limit %s for update of q skip locked
)
update message_queue q set
    status = 'queued', hold = null, due = at.now,
    expires_at = q.expires_at + greatest(at.now - q.due, interval '0')
from picked, (select to_timestamp(%s) as now) as at
where q.message = picked.message and q.n = picked.n
returning q.message, q.organisation, q.recipient, picked.released_by
"""

_HELD = """
select h.id, h.scope, h.what, h.organisation, h.reason, h.held_by, extract(epoch from h.created_at)::float8,
    extract(epoch from h.expires_at)::float8, o.name, coalesce(k.rows, 0)
from holds h left join organisations o on o.id = h.organisation left join (
    select hold, count(*) as rows from message_queue where hold is not null group by hold
) as k on k.hold = h.id
where h.released_at is null order by h.id
"""
_KEPT = "select count(*) from message_queue where hold = any(%s)"
_KEPT_MESSAGES = "select distinct message from message_queue where hold = any(%s) order by 1 limit %s"


@dataclass(frozen=True, slots=True)
class Held:
    """A hold as people look at it: the name of its organisation, if it has one, and how many rows it keeps."""

    hold: Hold
    organisation: str | None
    rows: int


@implementer(IHolds)
class PostgresHolds:
    """Holds over a pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def active(self) -> tuple[Hold, ...]:
        """See IHolds."""
        return tuple(_hold(*row) for row in await self._pool.query(_ACTIVE))

    async def place(self, hold: Hold) -> int:
        """See IHolds."""

        async def work(cursor: Cursor) -> int:
            return await place(cursor, hold)

        return await self._pool.interact(work)

    async def release(self, hold: int, now: float, by: str) -> bool:
        """See IHolds."""

        async def work(cursor: Cursor) -> bool:
            return await release(cursor, hold, now, by)

        return await self._pool.interact(work)

    async def end_expired(self, now: float) -> None:
        """See IHolds."""
        # Asked first: a statement that changes nothing would be news all the same.
        if await self._pool.query(_ANY_EXPIRED, (now,)):
            await self._pool.query(_EXPIRE, (now, now))
        if await self._pool.query(_ANY_FORGOTTEN, (now - HOLDS_KEPT_SECONDS,)):
            await self._pool.query(_FORGET, (now - HOLDS_KEPT_SECONDS,))

    async def free(self, now: float) -> int:
        """See IHolds."""

        async def work(cursor: Cursor) -> int:
            rows = await cursor.query(_FREE, (UNKNOWN, FREED_AT_ONCE, now))
            groups: dict[tuple[int, int, str], list[str]] = {}
            for message, organisation, recipient, by in rows:
                groups.setdefault((message, organisation, by), []).append(str(from_plain(recipient)))
            await events.tell_all(
                cursor,
                [
                    (now, message, organisation, (let_go_event(now, recipients, by),))
                    for (message, organisation, by), recipients in sorted(groups.items())
                ],
            )
            return len(rows)

        return await self._pool.interact(work)


async def place(cursor: Cursor, hold: Hold) -> int:
    """Place a hold in a transaction of the caller's; return its id."""
    terms = (
        hold.scope.value, hold.what, hold.organisation, hold.reason, hold.held_by, hold.created_at, hold.expires_at,
    )  # fmt: skip
    ((number,),) = await cursor.query(_PLACE, terms)
    if hold.scope is HoldScope.MESSAGE:
        message = parse_id(hold.what)
        rows = await cursor.query(_KEEP, (number, hold.created_at, message))
        if rows:
            recipients = [str(from_plain(recipient)) for _, recipient in rows]
            told = kept_event(hold.created_at, recipients, number, hold.reason, hold.held_by)
            await events.tell_all(cursor, [(hold.created_at, message, rows[0][0], (told,))])
    return int(number)


async def release(cursor: Cursor, hold: int, now: float, by: str) -> bool:
    """Let a hold be over, in a transaction of the caller's; False when it is none that stands."""
    return await cursor.execute(_RELEASE, (now, by, hold)) > 0


async def held(pool: Pool) -> list[Held]:
    """Return the holds that stand, as people look at them."""
    return [Held(_hold(*row[:8]), *row[8:]) for row in await pool.query(_HELD)]


async def kept_by(pool: Pool, holds: list[int], limit: int) -> tuple[int, list[Waiting]]:
    """Return how many rows some holds keep, and up to `limit` messages they are of."""
    ((count,),) = await pool.query(_KEPT, (holds,))
    found = await pool.query(_KEPT_MESSAGES, (holds, limit))
    return int(count), await care.messages(pool, [message for (message,) in found])


def _hold(
    number: int, scope: str, what: str, organisation: int | None, reason: str, held_by: str, created_at: float,
    expires_at: float | None,
) -> Hold:  # fmt: skip
    return Hold(HoldScope(scope), what, reason, held_by, created_at, organisation, expires_at, number)
