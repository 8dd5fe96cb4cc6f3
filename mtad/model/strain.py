"""How hard the queue is at work, as far as it holds up who hands messages to it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strain:
    """`waiting_seconds` is how long the oldest acceptance waits for its commit, but for large ones, which take turns.

    `disk_full` tells that the database refused one for want of room a moment ago, `away` that none can be committed
    now: this process is no node, or the last of them had no answer.
    """

    waiting_seconds: float = 0.0
    disk_full: bool = False
    away: bool = False
