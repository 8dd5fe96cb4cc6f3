"""What a server has in memory, as the interleavings play it, and what was sent of its mail."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from mtad.model.job import Acceptance, Job, Row, Settlement
from mtad.outbound.lease import Lease
from tests.contract.fleets import Begun

Key = tuple[int, int]


@dataclass(eq=False)
class Server:
    """What a process knows. Times are the machine's; `lapses` counts how often its lease ended.

    What is in `hand` waits for its turn, what is `begun` for its last dot.
    """

    number: int
    lease: Lease
    slot: int = 0
    last_id: int = 0
    beaten_at: float = 0.0
    asleep: bool = False
    lapses: int = 0
    has_lapsed: bool = False
    hand: list[Job] = field(default_factory=list)
    begun: "list[Delivery]" = field(default_factory=list)
    ended: "list[Ended]" = field(default_factory=list)
    accepting: list[tuple[Acceptance, int, Begun]] = field(default_factory=list)
    settling: "list[tuple[Ended, int, Begun]]" = field(default_factory=list)
    given_up: set[int] = field(default_factory=set)
    lacked: set[Row] = field(default_factory=set)

    @property
    def owner(self) -> int:
        """The owner number of the node it is."""
        return self.lease.owner

    def jobs(self) -> list[Job]:
        """Return what it has under the lease of the node it is: others must not have it."""
        return self.hand + [delivery.job for delivery in self.begun if delivery.lease is self.lease]

    def rows(self) -> set[Row]:
        """Return the rows it means to deal with."""
        waiting = {row for job in (*self.hand, *(each.job for each in self.begun)) for row in job.rows()}
        return waiting | {row for ended in self.ended_or_settling() for row in ended.rows}

    def ended_or_settling(self) -> "Iterator[Ended]":
        """Return what was tried and is not known to be settled."""
        yield from self.ended
        yield from (ended for ended, *_ in self.settling)

    def waits(self) -> list[Begun]:
        """Return what it waits for."""
        return [waiting[-1] for waiting in (*self.accepting, *self.settling)]

    def forget(self) -> None:
        """Drop what is not begun: others have it. What is begun goes on, as far as its lease lets it."""
        self.lease.end()
        self.hand.clear()
        self.lacked.clear()


@dataclass(eq=False)
class Delivery:
    """A job that was begun under a lease, and whose last dot is not sent."""

    job: Job
    lease: Lease


@dataclass(eq=False)
class Sending:
    """A row that was sent whole, when its server's lease had ended so many times."""

    server: Server
    lapses: int
    settled: bool = False


@dataclass(eq=False)
class Ended:
    """A job that was tried and is to be settled, with those of its rows that were sent."""

    settlement: Settlement
    rows: tuple[Row, ...]
    sendings: tuple[Sending, ...] = ()
