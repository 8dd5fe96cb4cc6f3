"""Keys of domains as rows. Private halves are sealed where a master key is configured, and read only by who signs.

A key stays what it is; what changes is its state, which only ever goes on from the one it was seen in.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.adapters.sealing import Sealing, Stored
from mtad.model.dkim import Key, KeyMove, KeyState, SigningKey
from mtad.model.holdings import HeldKey

ACTIVE_KEYS = """
select k.organisation, d.name, k.selector, k.algorithm, k.private_key, k.sealed_with
from dkim_keys k join domains d on d.id = k.domain
where d.name = %s and d.verified_at is not null and k.state = 'active' order by k.selector
"""

_HELD_KEYS = """
select domain, selector, algorithm, public_key, state, published_at is not null
from dkim_keys where organisation = any(%s) order by selector
"""
_KEYS_OF = """
select d.id, k.selector, k.algorithm, k.public_key, k.state,
       extract(epoch from k.created_at)::float8, extract(epoch from k.published_at)::float8,
       extract(epoch from k.active_at)::float8, extract(epoch from k.retiring_at)::float8,
       extract(epoch from k.revoked_at)::float8, k.sealed_with
from domains d left join dkim_keys k on k.domain = d.id where d.{which} order by k.selector
"""
_ADD_KEYS = """
insert into dkim_keys
    (organisation, domain, selector, algorithm, private_key, sealed_with, public_key, state,
     created_at, active_at, retiring_at)
select d.organisation, d.id, put.selector, put.algorithm, put.private_key, put.sealed_with, put.public_key, put.state,
       at.now, case when put.state in ('active', 'retiring') then at.now end,
       case when put.state = 'retiring' then at.now end
from (values (to_timestamp(%s))) as at (now),
     unnest(%s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[], %s::text[], %s::text[])
         as put (domain, selector, algorithm, private_key, sealed_with, public_key, state)
join domains d on d.name = put.domain
on conflict (domain, selector) do nothing
returning domain
"""
_LOOK_SOON = "update domain_care set due = to_timestamp(%s) where domain = any(%s)"
_CHANGE_KEYS = """
update dkim_keys k set state = put.state,
                       active_at = case when put.state = 'active' then at.now else k.active_at end,
                       retiring_at = case when put.state = 'retiring' then at.now
                                          when put.state <> 'active' then k.retiring_at end
from (values (to_timestamp(%s))) as at (now),
     unnest(%s::text[], %s::text[], %s::text[]) as put (domain, selector, state)
join domains d on d.name = put.domain
where k.domain = d.id and k.selector = put.selector and k.state <> put.state
"""
_REMOVE_KEYS = """
delete from dkim_keys k using unnest(%s::text[], %s::text[]) as gone (domain, selector), domains d
where d.name = gone.domain and k.domain = d.id and k.selector = gone.selector
"""
# Who comes second finds the key in another state, and moves nothing.
_MOVE_KEYS = """
update dkim_keys k set
    state        = move.after,
    published_at = case when move.after = 'published' then at.now else k.published_at end,
    active_at    = case when move.after = 'active' then at.now else k.active_at end,
    retiring_at  = case when move.after = 'retiring' then at.now else k.retiring_at end,
    revoked_at   = case when move.after = 'revoked' then at.now end,
    private_key  = case when move.after <> 'revoked' then k.private_key end,
    sealed_with  = case when move.after <> 'revoked' then k.sealed_with end
from (values (to_timestamp(%s))) as at (now),
     unnest(%s::text[], %s::text[], %s::text[], %s::text[]) as move (domain, selector, before, after)
join domains d on d.name = move.domain
where k.domain = d.id and k.selector = move.selector and k.state = move.before
returning d.name, k.selector
"""


def signing_keys(rows: Iterable[tuple[Any, ...]], sealing: Sealing) -> tuple[SigningKey, ...]:
    """Return the keys of rows of `ACTIVE_KEYS`; Unavailable when one of them cannot be opened."""
    return tuple(
        SigningKey(
            organisation,
            domain,
            selector,
            algorithm,
            sealing.open(Stored(bytes(private_key), sealed_with), domain, selector),
        )
        for organisation, domain, selector, algorithm, private_key, sealed_with in rows
    )


async def held_keys(cursor: Cursor, organisations: Sequence[int]) -> dict[int, list[HeldKey]]:
    """Return the keys of these organisations' domains, by the domain's id, without their private halves."""
    held: dict[int, list[HeldKey]] = {}
    for domain, selector, algorithm, public_key, state, seen in await cursor.query(_HELD_KEYS, (list(organisations),)):
        held.setdefault(domain, []).append(HeldKey(selector, algorithm, public_key, KeyState(state), seen=seen))
    return held


async def keys_of(pool: Pool, domain: str) -> list[Key] | None:
    """Return the keys of a domain by selector, without their private halves; None when nobody has the domain."""
    rows = await pool.query(_KEYS_OF.format(which="name = %s"), (domain,))
    return [_key(row[1:]) for row in rows if row[1] is not None] if rows else None


async def keys_of_each(cursor: Cursor, domains: Sequence[int]) -> dict[int, list[Key]]:
    """Return the keys of domains by their ids, each domain's by selector, without their private halves."""
    found: dict[int, list[Key]] = {domain: [] for domain in domains}
    for row in await cursor.query(_KEYS_OF.format(which="id = any(%s)"), (list(domains),)):
        if row[1] is not None:
            found[row[0]].append(_key(row[1:]))
    return found


async def add_keys(cursor: Cursor, keys: Sequence[tuple[str, HeldKey]], now: float, sealing: Sealing) -> int:
    """Add keys, with their private halves, to domains, which are looked at soon; return how many.

    Those whose selector names another key already are left out.
    """
    rows = []
    for domain, key in keys:
        assert key.private_key is not None
        stored = sealing.seal(key.private_key, domain, key.selector)
        public = (key.public_key, key.state.value)
        rows.append((domain, key.selector, key.algorithm, stored.octets, stored.sealed_with, *public))
    added = await cursor.query(_ADD_KEYS, (now, *_columns(rows)))
    await cursor.execute(_LOOK_SOON, (now, [domain for (domain,) in added]))
    return len(added)


async def put_keys(cursor: Cursor, keys: Sequence[tuple[str, HeldKey]], now: float, sealing: Sealing) -> None:
    """Add keys to domains, those that bring their private half; all are in their state from now on."""
    new = [(domain, key) for domain, key in keys if key.private_key is not None]
    if new:
        await add_keys(cursor, new, now, sealing)
    if keys:
        states = [(domain, key.selector, key.state.value) for domain, key in keys]
        await cursor.execute(_CHANGE_KEYS, (now, *_columns(states)))


async def remove_keys(cursor: Cursor, keys: Sequence[tuple[str, HeldKey]]) -> None:
    """Forget keys of domains; nobody may need their records any more."""
    if keys:
        await cursor.execute(_REMOVE_KEYS, tuple(_columns([(domain, key.selector) for domain, key in keys])))


async def move_keys(cursor: Cursor, moves: Sequence[KeyMove], now: float) -> list[KeyMove]:
    """Let keys go from state to state at `now`; return the moves that were made. What is revoked is gone for good."""
    if not moves:
        return []
    rows = [(move.domain, move.selector, move.before.value, move.after.value) for move in moves]
    made = set(await cursor.query(_MOVE_KEYS, (now, *_columns(rows))))
    return [move for move in moves if (move.domain, move.selector) in made]


def _key(row: Sequence[Any]) -> Key:
    selector, algorithm, public_key, state, *rest = row
    return Key(selector, algorithm, public_key, KeyState(state), *rest)


def _columns(rows: Sequence[tuple[Any, ...]]) -> Iterable[list[Any]]:
    return map(list, zip(*rows, strict=True))
