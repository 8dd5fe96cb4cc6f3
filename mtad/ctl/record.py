"""What a command changed goes on record, with who ran it (`mtactl audit`): in the transaction that changes it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres.audit import Trail
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.ctl.person import who

T = TypeVar("T")


def trail(command: str, what: str) -> Trail:
    """Return the row of this run of a command, such as `dkim rotate`, that is about `what`."""
    return Trail(who(), f"mtactl {command}", what)


async def on_record(
    pool: Pool, of: Trail, work: Callable[[Cursor], Awaitable[T]], count: Callable[[T], int] = lambda _: 1
) -> T:
    """Return what `work` comes to in one transaction with its row; `count` tells from that how much was changed.

    Nothing is not noted.
    """

    async def both(cursor: Cursor) -> T:
        result = await work(cursor)
        await of.add(cursor, count(result), SystemClock().now())
        return result

    return await pool.interact(both)
