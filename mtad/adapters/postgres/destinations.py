"""What the operator wants of domains elsewhere, as rows. The table's triggers tell the caches (`directory`)."""

from collections.abc import Sequence

from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.model.next_hop import TlsLevel

_LIST = "select domain, tls from destinations order by domain"
_SHOW = "select tls from destinations where domain = %s"
# An update without a difference would be news to every process.
_SET = """
insert into destinations (domain, tls) values (%s, %s)
on conflict (domain) do update set tls = excluded.tls where destinations.tls <> excluded.tls
returning domain
"""
_REMOVE = "delete from destinations where domain = %s returning domain"


async def destinations(pool: Pool) -> Sequence[tuple[str, TlsLevel]]:
    """Return every domain of which something is wanted, in their order, and how much TLS that is."""
    return [(domain, TlsLevel(tls)) for domain, tls in await pool.query(_LIST)]


async def destination(pool: Pool, domain: str) -> TlsLevel | None:
    """Return how much TLS is wanted of a domain (an A-label); None when nothing is."""
    rows = await pool.query(_SHOW, (domain,))
    return TlsLevel(rows[0][0]) if rows else None


async def set_destination(cursor: Cursor, domain: str, tls: TlsLevel) -> bool:
    """Want so much TLS of a domain, in a transaction of the caller's; return whether that is new."""
    return bool(await cursor.query(_SET, (domain, tls.value)))


async def remove_destination(cursor: Cursor, domain: str) -> bool:
    """Want nothing of a domain any more, in a transaction of the caller's; return whether something was wanted."""
    return bool(await cursor.query(_REMOVE, (domain,)))
