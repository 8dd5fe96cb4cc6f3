"""The record of what people did with mtactl: who, what was run, what it was done to, how much it changed."""

from mtad.adapters.postgres.pool import Pool

_NOTE = "insert into audit (at, who, command, what, count) values (to_timestamp(%s), %s, %s, %s, %s)"


async def note(pool: Pool, *, who: str, command: str, what: str, count: int, now: float) -> None:
    """Record that `who` ran `command` on `what`, which changed `count` of it; never a secret, never content."""
    await pool.query(_NOTE, (now, who, command, what, count))
