"""Who did what with mtactl: the table `audit`. Never a secret, never content.

A command writes its row with what it changes. One that works for long does so with the first thing, and raises the
count in the transaction of each further one: however it ends, the row tells what was done.
"""

from dataclasses import dataclass

from mtad.adapters.postgres.pool import Cursor, Pool

_NOTE = """
insert into audit (at, who, command, what, count) values (to_timestamp(%s), %s, %s, %s, %s) returning id
"""
_MORE = "update audit set count = count + %s where id = %s"
_LISTING = """
select extract(epoch from at)::float8, who, command, what, count from audit
where at >= to_timestamp(%s) order by id desc limit %s
"""


@dataclass(frozen=True, slots=True)
class Deed:
    """One row: at (epoch seconds), who as the operating system knows them, the command, to what, how much."""

    at: float
    who: str
    command: str
    what: str
    count: int


class Trail:
    """The row of one run of a command."""

    def __init__(self, who: str, command: str, what: str) -> None:
        self.who = who
        self.command = command
        self._what = what
        self._id: int | None = None

    async def add(self, cursor: Cursor, count: int, now: float) -> None:
        """Count what was changed, in the transaction that changes it; nothing is no deed."""
        if not count:
            return
        if self._id is None:
            ((self._id,),) = await cursor.query(_NOTE, (now, self.who, self.command, self._what, count))
        else:
            await cursor.execute(_MORE, (count, self._id))


async def deeds(pool: Pool, since: float, limit: int) -> list[Deed]:
    """Return what was done since that time, the last first."""
    return [Deed(*row) for row in await pool.query(_LISTING, (since, limit))]
