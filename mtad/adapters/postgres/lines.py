"""Who waits for a connection of the writer, and who goes together.

A line is one kind of request. Its items wait in order; a free connection takes as many as fit into one batch, never
fewer to spare the server and never later to make more of them (DESIGN D6). Items that went and came back, because
the connection broke or the server had no time, go again as they were; a batch that was refused is halved until the
one at fault is alone.

What is written and what its answer means is for the lines of `mtad.adapters.postgres.queue`; carrying batches is
`mtad.adapters.postgres.writer`'s.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from psycopg.pq.abc import PGresult
from twisted.internet.defer import Deferred

from mtad.adapters.postgres.libpq import Refused, Request
from mtad.model.errors import Unavailable

BATCH_COUNT = 200
BATCH_OCTETS = 1 << 20
ROW_OCTETS = 256
"""About what a row of any table takes on its way."""


class Item:
    """One caller's part of a batch: `count` messages of `octets` in all, written for the node `owner`."""

    __slots__ = ("answer", "count", "octets", "owner")

    def __init__(self, owner: int, count: int = 1, octets: int = 0) -> None:
        self.owner = owner
        self.count = count
        self.octets = octets
        self.answer: Deferred[list[PGresult]] = Deferred()

    @property
    def answered(self) -> bool:
        """Whether nobody waits any more."""
        return bool(self.answer.called)

    def succeed(self, results: list[PGresult]) -> None:
        """Answer with the statements' results."""
        if not self.answer.called:
            self.answer.callback(results)

    def fail(self, trouble: Exception) -> None:
        """Answer that it was not done, or that this is not known."""
        if not self.answer.called:
            self.answer.errback(trouble)


ItemT = TypeVar("ItemT", bound=Item)


class Batch(Generic[ItemT]):
    """Items of one line on their way."""

    __slots__ = ("items", "line")

    def __init__(self, line: "Line[ItemT]", items: list[ItemT]) -> None:
        self.line = line
        self.items = items

    def request(self) -> Request:
        """Return what to ask the server."""
        return self.line.request(self.items)

    def done(self, results: list[PGresult]) -> None:
        """Take the server's answer."""
        self.line.leave()
        self.line.done(self.items, results)

    def come_back(self, tried: bool) -> None:
        """Wait again, before all others; `tried` says that it is not known whether it was done."""
        self.line.leave()
        self.line.come_back(self.items, tried)

    def repeats(self, refusal: Refused) -> bool:
        """Return whether it is asked again after a refusal."""
        return self.line.repeats(refusal)

    def refused(self, refusal: Refused) -> None:
        """Take a refusal that stands."""
        self.line.leave()
        half = len(self.items) // 2
        if refusal.for_now:
            # None of them is at fault.
            for item in self.items:
                self.line.refused(item, refusal)
        elif half:
            self.line.set_apart(self.items[:half], self.items[half:])
        else:
            self.line.refused(self.items[0], refusal)


class Line(ABC, Generic[ItemT]):
    """Items of one kind. At most `width` connections carry batches of it at a time.

    `writes` says whether it waits for the recovery, before which nothing may be written.
    """

    writes = True

    def __init__(self, count: int = BATCH_COUNT, octets: int = BATCH_OCTETS, width: int = 1_000) -> None:
        self._count = count
        self._octets = octets
        self._width = width
        self._carried = 0
        self._waiting: deque[ItemT] = deque()
        self._apart: deque[list[ItemT]] = deque()

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting and not self._apart

    def put(self, item: ItemT) -> None:
        """Let an item wait."""
        self._waiting.append(item)

    def take(self) -> Batch[ItemT] | None:
        """Return the next batch; None when nothing waits or enough connections serve this line."""
        if self._carried >= self._width:
            return None
        items = self._next_apart() or self._gather()
        if not items:
            return None
        self._carried += 1
        return Batch(self, items)

    def _next_apart(self) -> list[ItemT]:
        """Take the next batch that was set apart, without those nobody waits for any more."""
        while self._apart:
            items = self._apart.popleft()
            for item in items:
                if item.answered:
                    self.dropped(item)
            if waiting := [item for item in items if not item.answered]:
                return waiting
        return []

    def _gather(self) -> list[ItemT]:
        """Take as many waiting items of one owner as fit together, at least one."""
        waiting = self._waiting
        items: list[ItemT] = []
        count, octets = self._count, self._octets
        while waiting:
            item = waiting[0]
            if item.answered:
                self.dropped(waiting.popleft())
                continue
            count -= item.count
            octets -= item.octets
            if items and (count < 0 or octets < 0 or item.owner != items[0].owner):
                break
            items.append(waiting.popleft())
        return items

    def leave(self) -> None:
        """Note that a connection is done with a batch."""
        self._carried -= 1

    def set_apart(self, *parts: list[ItemT]) -> None:
        """Let each of `parts` go as a batch of its own."""
        self._apart.extend(parts)

    def come_back(self, items: list[ItemT], tried: bool) -> None:
        """Let items go again, before all others."""
        self._waiting.extendleft(reversed(items))

    def fail_all(self, trouble: Unavailable) -> None:
        """Fail all that waits."""
        while self._apart:
            self._waiting.extendleft(self._apart.popleft())
        while self._waiting:
            self._waiting.popleft().fail(trouble)

    def repeats(self, refusal: Refused) -> bool:
        """Return whether items are asked again after a refusal: when the same may be accepted later."""
        return refusal.for_now

    def unreachable(self, trouble: Unavailable) -> None:
        """Hear that no connection is left; what waits goes on waiting unless a line knows better."""

    def dropped(self, item: ItemT) -> None:
        """Hear that an item is taken out because nobody waits for it any more."""

    @abstractmethod
    def request(self, items: Sequence[ItemT]) -> Request:
        """Return what to ask the server for these items, which have the same owner."""

    @abstractmethod
    def done(self, items: Sequence[ItemT], results: list[PGresult]) -> None:
        """Answer the items."""

    @abstractmethod
    def refused(self, item: ItemT, refusal: Refused) -> None:
        """Take the refusal of an item that was alone, or of each of several where none is at fault."""
