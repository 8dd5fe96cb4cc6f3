"""The nodes of a database, as people see and steer them; what processes do with their own rows is in `nodes`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.model.control import CHANNEL, DRAIN, reload_payload

_NODES = """
select n.owner, n.name, extract(epoch from n.started_at)::float8, n.draining, n.stats,
    (select count(*) from message_queue q where q.owner = n.owner)
from nodes n order by n.name, n.owner
"""
_DRAIN = "update nodes set draining = %s where owner = any(%s) and draining <> %s returning owner"
_NOTIFY = "select pg_notify(%s, %s)"


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node: `draining` is what is wanted of it, the rest of `stats` what it said with its last beat.

    `rows` is how many rows of the queue it owns. Of what it did not say there is None.
    """

    owner: int
    name: str
    started_at: float
    draining: bool
    rows: int
    process: int | None
    sessions: int | None
    drains: bool
    refused: str

    def refuses(self, token: str) -> str | None:
        """Return why it refused the reload of that token; None when it did not."""
        said, _, reason = self.refused.partition(" ")
        return reason if said == token else None


async def nodes(pool: Pool) -> list[NodeState]:
    """Return all nodes by name and owner number; a dead one stands until another finds it dead."""
    return [_state(*row) for row in await pool.query(_NODES)]


async def drain(cursor: Cursor, owners: Sequence[int], on: bool) -> int:
    """Want nodes to drain, or to work again, and tell them, in a transaction of the caller's.

    Return of how many that is new.
    """
    changed = await cursor.query(_DRAIN, (on, list(owners), on))
    await cursor.query(_NOTIFY, (CHANNEL, DRAIN))
    return len(changed)


async def want_reload(asked: Pool | Cursor, token: str, names: Sequence[str]) -> None:
    """Tell the nodes of these names to be replaced; the same token again is the same wish."""
    for name in names:
        await asked.query(_NOTIFY, (CHANNEL, reload_payload(token, name)))


def _state(owner: int, name: str, started_at: float, draining: bool, stats: Mapping[str, Any], rows: int) -> NodeState:
    return NodeState(
        owner=owner,
        name=name,
        started_at=started_at,
        draining=draining,
        rows=rows,
        process=stats.get("process"),
        sessions=stats.get("sessions"),
        drains=bool(stats.get("draining")),
        refused=str(stats.get("refused", "")),
    )
