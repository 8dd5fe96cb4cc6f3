"""The counters' twin: counts of one store, in memory, whose windows a Clock ends; it can be away (`reachable`)."""

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mtad.interfaces import ICounters
from mtad.model.errors import Unavailable


@implementer(ICounters)
class MemoryCounters:
    """`asked` counts the calls, each of which would be a trip."""

    def __init__(self, clock: IReactorTime) -> None:
        self.reachable = True
        self.asked = 0
        self._clock = clock
        self._counts: dict[str, tuple[int, float]] = {}

    async def add(self, key: str, amount: int, window_seconds: float) -> int:
        """Add to a count and return it (ICounters)."""
        self._answer()
        now = self._clock.seconds()
        count, ends_at = self._counts.get(key, (0, 0.0))
        if ends_at <= now:
            count, ends_at = 0, now + window_seconds
        self._counts[key] = count + amount, ends_at
        return count + amount

    async def counts(self, keys: Sequence[str]) -> Sequence[int]:
        """Return counts in the order of their keys (ICounters)."""
        self._answer()
        now = self._clock.seconds()
        return [count if ends_at > now else 0 for count, ends_at in (self._counts.get(key, (0, 0.0)) for key in keys)]

    async def forget(self, key: str) -> None:
        """Let a count be 0 (ICounters)."""
        self._answer()
        self._counts.pop(key, None)

    def _answer(self) -> None:
        self.asked += 1
        if not self.reachable:
            raise Unavailable("redis", "the counters are away")
