"""What people do to recipients they select: count them, look at them, let them be due, free them, remove them.

Everything that changes rows walks by their key, 1 000 at a time, a transaction each, with the events and the row of
the audit; a command that is ended in between leaves everything in order. Rows somebody else changes at the moment are
passed over: they are being delivered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mtad.adapters.postgres import care, events
from mtad.adapters.postgres.audit import Trail
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.model.address import from_plain
from mtad.model.event import RELEASED, REMOVED, RETRIED, care_event
from mtad.model.hold import NULL_SENDER
from mtad.model.job import Waiting
from mtad.model.selection import Selection, domain_of_pattern

AT_ONCE = 1_000

# What is selected, as far as a selection says; then which rows a command may take.
_SELECTED = """
message_queue q join messages m on m.id = q.message cross join (
    select %s::bigint as organisation, %s::text as domain, %s::bool as from_nobody, %s::text as sender_domain,
        %s::text as sender, %s::text[] as sender_spellings, %s::text as recipient, %s::text[] as recipient_spellings,
        %s::text as recipient_domain, %s::text as status, %s::float8 as before, %s::bigint[] as messages
) as wanted
where (wanted.organisation is null or q.organisation = wanted.organisation)
    and (wanted.domain is null or wanted.domain = substr(q.destination, strpos(q.destination, ':') + 1)
        or right(m.reverse_path, length(wanted.domain) + 1) = '@' || wanted.domain)
    and (not wanted.from_nobody or m.reverse_path is null)
    and (wanted.sender_domain is null
        or right(m.reverse_path, length(wanted.sender_domain) + 1) = '@' || wanted.sender_domain)
    and (wanted.sender is null or lower(m.reverse_path collate "C") = wanted.sender
        or m.reverse_path = any (wanted.sender_spellings))
    and (wanted.recipient is null or lower(q.recipient collate "C") = wanted.recipient
        or lower(q.original collate "C") = wanted.recipient
        or q.recipient = any (wanted.recipient_spellings) or q.original = any (wanted.recipient_spellings))
    and (wanted.recipient_domain is null
        or wanted.recipient_domain = substr(q.destination, strpos(q.destination, ':') + 1))
    and (wanted.status is null or q.status = wanted.status)
    and (wanted.before is null or m.received_at < to_timestamp(wanted.before))
    and (wanted.messages is null or q.message = any (wanted.messages))
    and {which}
"""
ANY = "true"
QUEUED = "q.status = 'queued'"
# What a hold keeps is for its release to free.
WAITING = "(q.status = 'queued' or q.status = 'held' and q.hold is null)"
QUARANTINED = "q.status = 'quarantined'"
UNOWNED = "q.owner is null"
RETURNABLE = "q.owner is null and q.status <> 'quarantined'"

_COUNT = "select count(*) from {selected}"
_MESSAGES = "select q.message from {selected} group by 1 order by 1 limit %s"
_KEYS = "select q.message, q.n from {selected} and (q.message, q.n) > (%s, %s) order by 1, 2 limit %s"
_LOCKED_KEYS = f"{_KEYS} for update of q skip locked"
_STILL = """
select q.message, q.n from {selected} and (q.message, q.n) in (select * from unnest(%s::bigint[], %s::smallint[]))
order by 1, 2 for update of q skip locked
"""
_ORGANISATION = "select id from organisations where name = %s"
_DOMAIN = "select 1 from domains where name = %s"
_STATS = """
with groups as (
    select organisation, destination, status, count(*) as rows, min(due) as due
    from message_queue group by 1, 2, 3 order by 4 desc, 1, 2, 3 limit %s
)
select o.name, g.destination, g.status, g.rows, extract(epoch from g.due)::float8
from groups g left join organisations o on o.id = g.organisation order by 4 desc, 1, 2, 3
"""

# Of rows by their keys.
_RETRY = """
with picked as (select unnest(%s::bigint[]) as message, unnest(%s::smallint[]) as n)
update message_queue q set status = 'queued', due = to_timestamp(%s), taken_over = 0 from picked
where q.message = picked.message and q.n = picked.n returning q.message, q.organisation, q.recipient
"""
# A raised claim is somebody's: what gives up an acceptance leaves such a row alone.
_FREE = """
with picked as (select unnest(%s::bigint[]) as message, unnest(%s::smallint[]) as n)
update message_queue q
set status = 'queued', claim = q.claim + 1, due = at.now, expires_at = q.expires_at + (at.now - q.due)
from picked, (select to_timestamp(%s) as now) as at
where q.message = picked.message and q.n = picked.n returning q.message, q.organisation, q.recipient
"""
_REMOVE = """
with picked as (select unnest(%s::bigint[]) as message, unnest(%s::smallint[]) as n)
delete from message_queue q using picked where q.message = picked.message and q.n = picked.n
returning q.message, q.organisation, q.recipient
"""

Key = tuple[int, int]
"""Of a row: its message and n."""

START: Key = (-1, -1)


@dataclass(frozen=True, slots=True)
class Group:
    """How many rows of an organisation go to one destination in one status, and when the first is due."""

    organisation: str | None
    destination: str
    status: str
    rows: int
    due: float


@dataclass(frozen=True, slots=True)
class Act:
    """What a command does to rows in the state `which`: a statement of keys and, if it is `timed`, the time."""

    which: str
    kind: str
    sql: str
    timed: bool = True


RETRY = Act(WAITING, RETRIED, _RETRY)
FREE = Act(QUARANTINED, RELEASED, _FREE)
REMOVE = Act(UNOWNED, REMOVED, _REMOVE, timed=False)


async def count(pool: Pool, selection: Selection, which: str) -> int:
    """Return how many rows are selected in that state."""
    ((found,),) = await pool.query(_sql(_COUNT, which), _values(selection))
    return int(found)


async def listing(pool: Pool, selection: Selection, which: str, limit: int) -> list[Waiting]:
    """Return messages that have selected rows in that state, with all their rows, oldest first."""
    found = await pool.query(_sql(_MESSAGES, which), (*_values(selection), limit))
    return await care.messages(pool, [message for (message,) in found])


async def act(
    pool: Pool, deed: Act, selection: Selection, after: Key, now: float, trail: Trail
) -> tuple[int, Key | None]:
    """Do it to the next rows behind a key; return how many those were, and the last one; None at the end."""
    picked: list[Key] = []

    async def work(cursor: Cursor) -> int:
        template = _KEYS if deed is REMOVE else _LOCKED_KEYS
        picked[:] = await cursor.query(_sql(template, deed.which), (*_values(selection), *after, AT_ONCE))
        messages = sorted({message for message, _ in picked})
        taken: Sequence[Key] = picked
        if deed is REMOVE and picked:
            # Messages are locked before rows, as everybody does; what became of the rows meanwhile is seen then.
            await care.lock(cursor, messages)
            taken = await cursor.query(_sql(_STILL, deed.which), (*_values(selection), *_columns(picked)))
        if not taken:
            return 0
        values = _columns(taken)
        rows = await cursor.query(deed.sql, (*values, now) if deed.timed else values)
        await _tell(cursor, deed.kind, rows, now, trail.command)
        if deed is REMOVE:
            await care.clean(cursor, messages)
        await trail.add(cursor, len(rows), now)
        return len(rows)

    done = await pool.interact(work)
    return done, picked[-1] if len(picked) == AT_ONCE else None


async def keys(pool: Pool, selection: Selection, which: str, after: Key) -> list[Key]:
    """Return the keys of the next selected rows in that state, AT_ONCE at most."""
    found = await pool.query(_sql(_KEYS, which), (*_values(selection), *after, AT_ONCE))
    return [(message, n) for message, n in found]


async def organisation(pool: Pool, name: str) -> int | None:
    """Return the id of the organisation of that name, None when there is none."""
    found = await pool.query(_ORGANISATION, (name,))
    return int(found[0][0]) if found else None


async def is_hosted(pool: Pool, domain: str) -> bool:
    """Return whether some organisation here has that domain."""
    return bool(await pool.query(_DOMAIN, (domain,)))


async def stats(pool: Pool, limit: int) -> list[Group]:
    """Return the largest groups of rows, the largest first."""
    return [Group(*row) for row in await pool.query(_STATS, (limit,))]


def _sql(template: str, which: str) -> str:
    return template.format(selected=_SELECTED.format(which=which))


def _values(selection: Selection) -> tuple[object, ...]:
    """Return what _SELECTED asks for, in order."""
    sender = selection.sender
    of_domain = None if sender is None else domain_of_pattern(sender)
    return (
        selection.organisation,
        selection.domain,
        sender == NULL_SENDER,
        of_domain,
        sender if selection.sender_is_address else None,
        list(selection.sender_spellings),
        selection.recipient,
        list(selection.recipient_spellings),
        selection.recipient_domain,
        selection.status and selection.status.value,
        selection.received_before,
        list(selection.messages) or None,
    )


def _columns(keys: Sequence[Key]) -> list[list[int]]:
    return [list(column) for column in zip(*keys, strict=True)]


async def _tell(cursor: Cursor, kind: str, rows: Sequence[tuple[int, int, str]], now: float, by: str) -> None:
    groups: dict[tuple[int, int], list[str]] = {}
    for message, organisation, recipient in sorted(rows):
        groups.setdefault((message, organisation), []).append(str(from_plain(recipient)))
    await events.tell_all(
        cursor,
        [
            (now, message, organisation, (care_event(kind, now, recipients, by),))
            for (message, organisation), recipients in groups.items()
        ],
    )
