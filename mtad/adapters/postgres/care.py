"""The queue as people look at it, and what keeps it clean: the slow side of IQueueCare."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from mtad.adapters.postgres import events
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.adapters.postgres.statements import ALL_CONTENTS, CLEAN, LOCK_MESSAGES
from mtad.model.address import from_plain
from mtad.model.envelope import Recipient
from mtad.model.event import REMOVED, care_event
from mtad.model.identity import first_id
from mtad.model.job import RowState, Status, Waiting

_SLICE = 10_000
_EXPIRED_AT_ONCE = 200

_WAITING = """
with found as (select m.* from messages m where {which})
select m.id, m.organisation, m.reverse_path, m.size, extract(epoch from m.received_at)::float8,
    q.n, q.destination, q.recipient, q.original, q.notify, q.orcpt, q.expanded, q.status, q.attempts,
    extract(epoch from q.due)::float8, extract(epoch from q.expires_at)::float8, coalesce(q.owner, 0)
from found m join message_queue q on q.message = m.id
order by m.id, q.n
"""
_ONE = _WAITING.format(which="id = %s")
_SOME = _WAITING.format(which="id = any(%s)")

# Both walk by id, a slice a statement, and say up to where they came: `limit 1` keeps the planner from reading a whole
# table to answer for a slice. Messages that have rows are locked by no settlement for long; one that is locked is
# looked at the next time.
_SWEEP_MESSAGES = """
with looked as (
    select id from messages where id > %s and id < %s order by id limit %s
), old as (
    select m.id from looked join messages m on m.id = looked.id
    left join lateral (select 1 from message_queue q where q.message = m.id limit 1) as queued(one) on true
    where m.received_at < to_timestamp(%s) and queued.one is null
    for update of m skip locked
), gone as (
    delete from messages using old where messages.id = old.id returning messages.id, messages.content_id
), freed as (
    delete from message_content c using (select distinct content_id from gone) emptied
    where c.content_id = emptied.content_id and c.content_id < %s and not exists (
        select from messages m
        where m.content_id = emptied.content_id and m.copies > 1 and m.id not in (select id from gone)
    )
)
select (select max(id) from looked), (
    select count(*) from gone where exists (select from message_content c where c.content_id = gone.content_id)
)
"""

_SWEEP_CONTENTS = """
with looked as (
    select content_id as id from message_content
    where content_id > %s and content_id < %s and n = 0 order by content_id limit %s
), lone as (
    select looked.id from looked left join lateral (
        (select 1 from messages m where m.id = looked.id and m.content_id = looked.id)
        union all
        (select 1 from messages m where m.content_id = looked.id and m.copies > 1)
        limit 1
    ) as carried(one) on true
    where carried.one is null
), freed as (
    delete from message_content c using lone where c.content_id = lone.id
)
select (select max(id) from looked), (select count(*) from lone)
"""

# A quarantined row is due since it is kept.
_EXPIRED = """
select distinct message from (
    select message from message_queue where status = 'quarantined' and due < to_timestamp(%s) order by due limit %s
) as kept
"""
_REMOVE_EXPIRED = """
delete from message_queue where message = any(%s) and status = 'quarantined' and due < to_timestamp(%s)
returning message, organisation, recipient
"""
# The same locks and the same cleaning as a settlement's (`statements`), in the dialect of the pool.
_LOCK = re.sub(r"\$\d", "%s", LOCK_MESSAGES.sql)
_CLEAN = re.sub(r"\$\d", "%s", CLEAN.sql)


async def expire_quarantined(pool: Pool, before: float, now: float, by: str) -> int:
    """Remove rows that are quarantined since before that time, a slice a transaction."""
    total = 0
    while expired := [message for (message,) in await pool.query(_EXPIRED, (before, _EXPIRED_AT_ONCE))]:
        total += await _expire(pool, expired, before, now, by)
    return total


async def _expire(pool: Pool, messages: list[int], before: float, now: float, by: str) -> int:
    async def work(cursor: Cursor) -> int:
        await lock(cursor, messages)
        removed = sorted(await cursor.query(_REMOVE_EXPIRED, (messages, before)))
        for message, rows in groupby(removed, key=lambda row: row[0]):
            await _tell_removed(cursor, message, now, by, [row[1:] for row in rows])
        await clean(cursor, messages)
        return len(removed)

    return await pool.interact(work)


async def lock(cursor: Cursor, messages: list[int]) -> None:
    """Hold messages, and those that share their contents, before rows of them are removed."""
    await cursor.query(_LOCK, (messages, messages))


async def clean(cursor: Cursor, messages: list[int]) -> None:
    """Remove those of them that have no rows, and contents no message carries, whatever else is kept."""
    await cursor.execute(_CLEAN, (messages, ALL_CONTENTS))


async def _tell_removed(cursor: Cursor, message: int, now: float, by: str, rows: Sequence[tuple[int, str]]) -> None:
    event = care_event(REMOVED, now, [str(from_plain(recipient)) for _, recipient in rows], by)
    await cursor.execute(events.TELL, (now, message, rows[0][0], *events.encoded_anyway((event,))))


async def sweep(pool: Pool, before: float, contents_before: float) -> int:
    """Remove messages received before that time which have no rows, and contents no message carries.

    The latter, and the contents of the former, must have come before `contents_before`.

    However much waits, no statement looks at more than a slice. A content goes with its last message; only of what
    raced or crashed there is one without, so these are looked for by their own ids: a content has the id of the first
    message that carried it, its other messages have an index (`copies` above 1), and none as young as `before` counts.
    """
    kept = first_id(contents_before)
    removed = await _walk(pool, _SWEEP_MESSAGES, first_id(before), before, kept)
    await _walk(pool, _SWEEP_CONTENTS, kept)
    return removed


async def _walk(pool: Pool, statement: str, bound: int, *values: object) -> int:
    """Run a statement that sweeps a slice of ids below `bound`, from one to the next; return how many it removed."""
    total = 0
    last: int | None = -1
    while last is not None:
        ((last, removed),) = await pool.query(statement, (last, bound, _SLICE, *values))
        total += removed
    return total


async def sizes(pool: Pool) -> dict[Status, int]:
    """See IQueueCare."""
    rows = await pool.query("select status, count(*) from message_queue group by status")
    return dict.fromkeys(Status, 0) | {Status(status): count for status, count in rows}


async def content_of(pool: Pool, message: int) -> int:
    """Return the id of a message's content; of one that is gone its own, which the first of an acceptance shares."""
    found = await pool.query("select content_id from messages where id = %s", (message,))
    return int(found[0][0]) if found else message


async def messages(pool: Pool, numbers: list[int]) -> list[Waiting]:
    """Return those of these messages that have rows, with all of them, oldest first."""
    return _waitings(await pool.query(_SOME, (numbers,)))


async def waiting(pool: Pool, message: int) -> Waiting | None:
    """Return one message with its rows; None when it has none."""
    found = _waitings(await pool.query(_ONE, (message,)))
    return found[0] if found else None


def _waitings(rows: list[tuple[Any, ...]]) -> list[Waiting]:
    return [_waiting(head, list(group)) for head, group in groupby(rows, key=lambda row: row[:5])]


def _waiting(head: tuple[Any, ...], group: list[tuple[Any, ...]]) -> Waiting:
    message, organisation, reverse_path, size, received_at = head
    path = None if reverse_path is None else from_plain(reverse_path)
    return Waiting(message, organisation, path, size, received_at, tuple(_state(*row[5:]) for row in group))


def _state(
    n: int, destination: str, address: str, original: str | None, notify: str | None, orcpt: str | None,
    expanded: bool, status: str, attempts: int, due: float, expires_at: float, owner: int,
) -> RowState:  # fmt: skip
    accepted = from_plain(address if original is None else original)
    recipient = Recipient(n, accepted, from_plain(address), destination, notify, orcpt, expanded)
    return RowState(recipient, Status(status), attempts, due, expires_at, owner)
