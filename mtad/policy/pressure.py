"""How hard pressed this server is, and what peers notice of it: nothing, that it takes its time, or that it refuses.

Three things are measured: how much of the memory's budget is used, how long the oldest message waits for its commit or
whether none can be had, and whether the disks are full. Each is judged by itself, and the worst counts. A level is left
only well below where it was entered, so that it does not come and go with every message. What is refused is refused for
now, before its octets come: a peer keeps what it was not told 250 for (RFC 5321 §4.2.1).
"""

from dataclasses import dataclass
from enum import IntEnum

from mtad.model import replies
from mtad.model.verdict import Accept, Refuse, Verdict


class Level(IntEnum):
    """What is done about it; a higher one is worse."""

    NORMAL = 0
    SLOW = 1
    REFUSE = 2


@dataclass(frozen=True, slots=True)
class Load:
    """`memory` is the used share of the budget, `accept_seconds` the age of the oldest acceptance under way.

    `database_away` tells that nothing can be accepted at all, `disk_full` that the spool or the database has no room
    for a message.
    """

    memory: float = 0.0
    accept_seconds: float = 0.0
    disk_full: bool = False
    database_away: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """From where on a measure is slow or refused, and until where it stays so once it is."""

    slow_from: float
    slow_until: float
    refuse_from: float
    refuse_until: float

    def level(self, measure: float, before: Level) -> Level:
        """Return the level of a measure that was at `before`."""
        if measure >= (self.refuse_until if before is Level.REFUSE else self.refuse_from):
            return Level.REFUSE
        return Level.SLOW if measure >= (self.slow_until if before else self.slow_from) else Level.NORMAL


MEMORY = Marks(slow_from=0.6, slow_until=0.5, refuse_from=0.8, refuse_until=0.7)
DATABASE = Marks(slow_from=2.0, slow_until=1.0, refuse_from=10.0, refuse_until=2.0)


@dataclass(frozen=True, slots=True)
class Pressure:
    """The level of each measure."""

    memory: Level = Level.NORMAL
    database: Level = Level.NORMAL
    disk: Level = Level.NORMAL

    @property
    def level(self) -> Level:
        """The worst of them."""
        return max(self.memory, self.database, self.disk)


CALM = Pressure()


def judge(load: Load, before: Pressure) -> Pressure:
    """Return how hard pressed the server is that was so `before`."""
    return Pressure(
        MEMORY.level(load.memory, before.memory),
        Level.REFUSE if load.database_away else DATABASE.level(load.accept_seconds, before.database),
        Level.REFUSE if load.disk_full else Level.NORMAL,
    )


def greet(pressure: Pressure) -> Verdict:
    """Return whether a session may begin."""
    reason = _reason(pressure)
    return Accept("calm enough") if reason is None else Refuse(replies.TOO_BUSY, reason)


def begin(pressure: Pressure) -> Verdict:
    """Return whether a transaction may begin."""
    reason = _reason(pressure)
    if reason is None:
        return Accept("calm enough")
    return Refuse(replies.STORAGE_FULL if pressure.disk is Level.REFUSE else replies.NO_ROOM, reason)


def _reason(pressure: Pressure) -> str | None:
    """Return why all is refused, None when it is not."""
    if pressure.disk is Level.REFUSE:
        return "storage-full"
    if pressure.memory is Level.REFUSE:
        return "memory-full"
    return "database-slow" if pressure.database is Level.REFUSE else None
