"""Keys that time moves on, and private keys that are sealed anew."""

from collections.abc import Sequence

from zope.interface import implementer

from mtad.adapters.postgres.dkim_keys import move_keys
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.adapters.sealing import Sealing, Stored
from mtad.interfaces import IKeyCare
from mtad.model.dkim import SIGNED_LATE_SECONDS, VERIFIED_LATE_SECONDS, KeyMove, KeyState
from mtad.model.domain_check import Locked, Sealed
from mtad.model.errors import Unavailable
from mtad.model.identity import EPOCH_SECONDS, SEQUENCE_BITS, SLOT_BITS

# Ids are in the order of time, so that what came before a key retired is found by the table's own key: of what is
# older than the lifetime that is only what was held or quarantined; `order by` keeps the planner from reading all of a
# table. What comes from outside nobody signed here.
_RETIRED = """
select d.name, k.selector
from dkim_keys k join domains d on d.id = k.domain cross join lateral (
    select (1000 * (extract(epoch from k.retiring_at) - %s))::bigint << %s as id
) as unsigned
where k.state = 'retiring' and k.retiring_at < to_timestamp(%s)
    and (
        select m.id from messages m
        where m.id < unsigned.id and m.organisation = k.organisation and m.direction <> 'inbound'
        order by m.id limit 1
    ) is null and (
        select e.message from message_events e
        where e.at > to_timestamp(%s) and e.message < unsigned.id and e.organisation = k.organisation
        order by e.message limit 1
    ) is null
order by k.id limit 1000
"""
# What cannot be opened is looked at last, so that it does not keep the rest from its turn. Without a master key that is
# all there is to look at.
_UNSEALED = """
select k.id, d.name, k.selector, k.private_key, k.sealed_with from dkim_keys k join domains d on d.id = k.domain
where k.private_key is not null and k.sealed_with is distinct from %s
order by k.sealed_with is null or k.sealed_with = any(%s) desc, k.id limit %s for update of k skip locked
"""
_SEAL = """
update dkim_keys k set private_key = put.private_key, sealed_with = put.sealed_with
from unnest(%s::bigint[], %s::bytea[], %s::text[]) as put (id, private_key, sealed_with) where k.id = put.id
"""


@implementer(IKeyCare)
class PostgresKeyCare:
    """The care of keys in PostgreSQL, sealed by `sealing`."""

    def __init__(self, pool: Pool, sealing: Sealing) -> None:
        self._pool = pool
        self._sealing = sealing

    async def revoke(self, before: float, now: float) -> Sequence[KeyMove]:
        """Revoke keys that nobody needs any more (IKeyCare)."""

        async def work(cursor: Cursor) -> Sequence[KeyMove]:
            unsigned = (EPOCH_SECONDS - SIGNED_LATE_SECONDS, SLOT_BITS + SEQUENCE_BITS)
            found = await cursor.query(_RETIRED, (*unsigned, before, now - VERIFIED_LATE_SECONDS))
            moves = [KeyMove(domain, selector, KeyState.RETIRING, KeyState.REVOKED) for domain, selector in found]
            return await move_keys(cursor, moves, now)

        return await self._pool.interact(work)

    async def seal(self, limit: int) -> Sealed:
        """Seal private keys with the first master key (IKeyCare)."""
        return await self._pool.interact(lambda cursor: self.seal_in(cursor, limit))

    async def seal_in(self, cursor: Cursor, limit: int) -> Sealed:
        """Seal private keys as `seal` does, in a transaction of the caller's."""
        sealed = []
        locked = []
        asked = (self._sealing.writes_with, list(self._sealing.ids), limit)
        for key, domain, selector, private_key, sealed_with in await cursor.query(_UNSEALED, asked):
            try:
                opened = self._sealing.open(Stored(bytes(private_key), sealed_with), domain, selector)
            except Unavailable:
                locked.append(Locked(domain, selector, sealed_with))
            else:
                stored = self._sealing.seal(opened, domain, selector)
                sealed.append((key, stored.octets, stored.sealed_with))
        if sealed:
            await cursor.execute(_SEAL, tuple(list(column) for column in zip(*sealed, strict=True)))
        return Sealed(len(sealed), tuple(locked))
