"""What a command changed goes on record, with who ran it (`mtactl audit`)."""

from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres.audit import note
from mtad.adapters.postgres.pool import Pool
from mtad.ctl.person import who


async def on_record(pool: Pool, command: str, what: str, count: int = 1) -> None:
    """Note that a command, such as `dkim rotate`, changed so much of something; nothing is not noted."""
    if count:
        await note(pool, who=who(), command=f"mtactl {command}", what=what, count=count, now=SystemClock().now())
