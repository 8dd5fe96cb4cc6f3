"""What people do to one message with mtactl: on the twin, and in PostgreSQL by what the commands themselves call."""

from collections.abc import Sequence

from mtad.adapters.postgres import selected
from mtad.adapters.postgres.audit import Trail
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.selected import Act, Key
from mtad.model.identity import print_id
from mtad.model.job import Status, Waiting
from mtad.model.selection import Selection
from mtad.testing.store import MemoryStore


class MemoryPeople:
    """At a MemoryStore. `by` is the command that did it."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def retry(self, message: int, now: float, by: str) -> int:
        return self._store.retry(message, now, by)

    async def remove(self, message: int, now: float, by: str) -> int:
        return self._store.remove(message, now, by)

    async def free_quarantined(self, message: int, now: float, by: str) -> int:
        return self._store.free_quarantined(message, now, by)

    async def listing(self, status: Status | None, limit: int, organisation: int | None = None) -> Sequence[Waiting]:
        return self._store.listing(status, limit, organisation)


class PostgresPeople:
    """At PostgreSQL, each act to its end."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def retry(self, message: int, now: float, by: str) -> int:
        return await self._act(selected.RETRY, message, now, by)

    async def remove(self, message: int, now: float, by: str) -> int:
        return await self._act(selected.REMOVE, message, now, by)

    async def free_quarantined(self, message: int, now: float, by: str) -> int:
        return await self._act(selected.FREE, message, now, by)

    async def listing(self, status: Status | None, limit: int, organisation: int | None = None) -> Sequence[Waiting]:
        wanted = Selection(status=status, organisation=organisation)
        return await selected.listing(self._pool, wanted, selected.ANY, limit)

    async def _act(self, deed: Act, message: int, now: float, by: str) -> int:
        trail, total = Trail("ops", by, print_id(message)), 0
        after: Key | None = selected.START
        while after is not None:
            done, after = await selected.act(self._pool, deed, Selection(messages=(message,)), after, now, trail)
            total += done
        return total
