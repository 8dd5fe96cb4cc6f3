"""Keys of domains as rows. Private halves are written once and read by nobody but who signs."""

from collections.abc import Iterable, Sequence
from typing import Any

from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.model.dkim import SigningKey
from mtad.model.holdings import HeldKey

ACTIVE_KEYS = """
select k.organisation, d.name, k.selector, k.algorithm, k.private_key
from dkim_keys k join domains d on d.id = k.domain
where d.name = %s and d.verified_at is not null and k.state = 'active' order by k.selector
"""

_KEYS = """
select domain, selector, algorithm, public_key, state = 'active' from dkim_keys
where organisation = any(%s) order by selector
"""
_KEYS_OF = """
select k.selector, k.algorithm, k.public_key, k.state = 'active'
from domains d left join dkim_keys k on k.domain = d.id where d.name = %s order by k.selector
"""
# A key stays what it is; only whether it signs changes.
_ADD_KEYS = """
insert into dkim_keys
    (organisation, domain, selector, algorithm, private_key, public_key, state, created_at, active_at, retiring_at)
select d.organisation, d.id, put.selector, put.algorithm, put.private_key, put.public_key,
       case when put.active then 'active' else 'retiring' end, at.now, at.now,
       case when not put.active then at.now end
from (values (to_timestamp(%s))) as at (now),
     unnest(%s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[], %s::boolean[])
         as put (domain, selector, algorithm, private_key, public_key, active)
join domains d on d.name = put.domain
on conflict (domain, selector) do update set state = excluded.state, retiring_at = excluded.retiring_at
"""
_CHANGE_KEYS = """
update dkim_keys k set state = case when put.active then 'active' else 'retiring' end,
                       retiring_at = case when not put.active then at.now end
from (values (to_timestamp(%s))) as at (now),
     unnest(%s::text[], %s::text[], %s::boolean[]) as put (domain, selector, active)
join domains d on d.name = put.domain
where k.domain = d.id and k.selector = put.selector
"""
_REMOVE_KEYS = """
delete from dkim_keys k using unnest(%s::text[], %s::text[]) as gone (domain, selector), domains d
where d.name = gone.domain and k.domain = d.id and k.selector = gone.selector
"""


def signing_keys(rows: Iterable[tuple[Any, ...]]) -> tuple[SigningKey, ...]:
    """Return the keys of rows of `ACTIVE_KEYS`."""
    return tuple(
        SigningKey(organisation, domain, selector, algorithm, bytes(private_key))
        for organisation, domain, selector, algorithm, private_key in rows
    )


async def held_keys(cursor: Cursor, organisations: Sequence[int]) -> dict[int, list[HeldKey]]:
    """Return the keys of these organisations' domains, by the domain's id, without their private halves."""
    held: dict[int, list[HeldKey]] = {}
    for domain, selector, algorithm, public_key, active in await cursor.query(_KEYS, (list(organisations),)):
        held.setdefault(domain, []).append(HeldKey(selector, algorithm, public_key, active))
    return held


async def keys_of(pool: Pool, domain: str) -> list[HeldKey] | None:
    """Return the keys of a domain by selector, without their private halves; None when nobody has the domain."""
    rows = await pool.query(_KEYS_OF, (domain,))
    if not rows:
        return None
    return [HeldKey(*row) for row in rows if row[0] is not None]


async def put_keys(cursor: Cursor, keys: Sequence[tuple[str, HeldKey]], now: float) -> None:
    """Add keys to domains, those that bring their private half; of the others change whether they sign."""
    new = [(domain, key) for domain, key in keys if key.private_key is not None]
    if new:
        rows = [
            (domain, key.selector, key.algorithm, key.private_key, key.public_key, key.active) for domain, key in new
        ]
        await cursor.execute(_ADD_KEYS, (now, *_columns(rows)))
    known = [(domain, key.selector, key.active) for domain, key in keys if key.private_key is None]
    if known:
        await cursor.execute(_CHANGE_KEYS, (now, *_columns(known)))


async def remove_keys(cursor: Cursor, keys: Sequence[tuple[str, HeldKey]]) -> None:
    """Forget keys of domains; nobody may need their records any more."""
    if keys:
        await cursor.execute(_REMOVE_KEYS, tuple(_columns([(domain, key.selector) for domain, key in keys])))


def _columns(rows: Sequence[tuple[Any, ...]]) -> Iterable[list[Any]]:
    return map(list, zip(*rows, strict=True))
