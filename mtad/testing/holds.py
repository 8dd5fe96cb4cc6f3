"""What the table of holds would hold, in memory, and what it does to the rows of the queue."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from mtad.model.errors import Unavailable
from mtad.model.event import Event, kept_event, let_go_event
from mtad.model.hold import CHANNEL, FREED_AT_ONCE, HOLDS_KEPT_SECONDS, Hold, HoldScope
from mtad.model.identity import parse_id
from mtad.model.job import Status
from mtad.testing.rows import QueueRow
from mtad.testing.wakeups import MemoryWakeups


@dataclass(slots=True)
class HoldRow:
    """A row of `holds`."""

    hold: Hold
    released_at: float | None = None
    released_by: str = ""

    def waited(self, row: QueueRow) -> float:
        """Return how long a row that was due waited because of this hold, which is over, in seconds."""
        domain = row.recipient.destination.partition(":")[2]
        closed = self.hold.organisation in (None, row.organisation) and (
            self.hold.scope is HoldScope.ORGANISATION
            or (self.hold.scope in (HoldScope.DOMAIN, HoldScope.RECIPIENT_DOMAIN) and self.hold.what == domain)
        )
        if not closed or self.released_at is None:
            return 0.0
        return max(0.0, self.released_at - max(self.hold.created_at, row.due))


class HoldTable:
    """The holds over the `rows` of a queue. `wakeups` are told of every change, `tell` writes events.

    While they are `broken` nobody can read which stand.
    """

    def __init__(
        self,
        rows: dict[tuple[int, int], QueueRow],
        wakeups: MemoryWakeups,
        tell: Callable[[int, int, float, tuple[Event, ...]], None],
    ) -> None:
        self._queue = rows
        self._wakeups = wakeups
        self._tell = tell
        self._rows: dict[int, HoldRow] = {}
        self._last = 0
        self.broken = False

    def active(self) -> tuple[Hold, ...]:
        """Return the holds that are not released; Unavailable."""
        if self.broken:
            raise Unavailable("postgres", "the table of holds cannot be read")
        return tuple(row.hold for row in self._rows.values() if row.released_at is None)

    def place(self, hold: Hold) -> int:
        """Add a hold; hold what waits of a single message."""
        self._last += 1
        self._rows[self._last] = HoldRow(replace(hold, id=self._last))
        if hold.scope is HoldScope.MESSAGE:
            self._keep(parse_id(hold.what), self._rows[self._last].hold)
        self._changed()
        return self._last

    def _keep(self, message: int, hold: Hold) -> None:
        waiting = (
            row for (number, _), row in sorted(self._queue.items(), key=lambda item: item[0]) if number == message
        )
        rows = [row for row in waiting if row.status is Status.QUEUED]
        for row in rows:
            row.status, row.hold, row.due = Status.HELD, hold.id, hold.created_at
        if rows:
            recipients = [str(row.recipient.address) for row in rows]
            told = kept_event(hold.created_at, recipients, hold.id, hold.reason, hold.held_by)
            self._tell(message, rows[0].organisation, hold.created_at, (told,))

    def release(self, number: int, now: float, by: str) -> bool:
        """Let a hold be over; say whether it stood."""
        row = self._rows.get(number)
        if row is None or row.released_at is not None:
            return False
        row.released_at, row.released_by = now, by
        self._changed()
        return True

    def end_expired(self, now: float) -> None:
        """Let holds be over whose expiry has come, forget those long over."""
        for number, row in list(self._rows.items()):
            if row.hold.expires_at is not None and row.hold.expires_at <= now:
                self.release(number, now, "its expiry")
            if row.released_at is not None and row.released_at < now - HOLDS_KEPT_SECONDS:
                del self._rows[number]

    def free(self, now: float) -> int:
        """Queue rows whose hold is over."""
        freed: dict[tuple[int, str], list[QueueRow]] = {}
        over = {number: row.released_by for number, row in self._rows.items() if row.released_at is not None}
        held = [row for row in self._queue.values() if row.status is Status.HELD and row.hold in over]
        for row in held[:FREED_AT_ONCE]:
            assert row.hold is not None
            freed.setdefault((row.message, over[row.hold]), []).append(row)
            row.hold, row.expires_at = None, row.expires_at + max(0.0, now - row.due)
            row.free(now)
        for (message, by), rows in freed.items():
            told = let_go_event(now, [str(row.recipient.address) for row in rows], by)
            self._tell(message, rows[0].organisation, now, (told,))
        return sum(map(len, freed.values()))

    def waited(self, row: QueueRow) -> float:
        """Return how long a row that was due waited because of holds that are over, in seconds."""
        return sum(hold.waited(row) for hold in self._rows.values())

    def _changed(self) -> None:
        self._wakeups.notify(CHANNEL, "")
