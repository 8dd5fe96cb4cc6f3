"""Whose turn it is: deficit round robin, and deficit round robins within one another (pure).

Everybody who has something waiting stands in a ring. Each turn is worth a quantum; whoever has used up what it had goes
to the end and gets another quantum for its next turn. What something costs is charged when it is known, so that one may
overdraw: it then stands aside for as many turns as it takes. So all who always have something waiting get the same to
within a quantum and the largest single cost, whatever their pieces are, and nobody is passed over for ever.

A pick takes a few steps, however many there are, and as many more as quanta were charged before: a debt is paid off by
being passed by. Who has nothing waiting stays in the ring only while it has a debt, so that nobody sheds one by having
nothing waiting for a moment. After M. Shreedhar and G. Varghese, "Efficient Fair Queuing using Deficit Round Robin",
1995, with the cost charged afterwards.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class DeficitRoundRobin(Generic[KeyT]):
    """One ring. `quantum` is what a turn is worth, in the unit of the costs."""

    def __init__(self, quantum: int) -> None:
        if quantum < 1:
            raise ValueError(f"a turn must be worth something, not {quantum}")
        self._quantum = quantum
        # What each may still use, the front's turn being now.
        self._balances: OrderedDict[KeyT, int] = OrderedDict()
        self._active: set[KeyT] = set()
        self._resting: dict[KeyT, int] = {}

    def __len__(self) -> int:
        """Return how many have something waiting."""
        return len(self._active)

    def __contains__(self, key: object) -> bool:
        """Return whether that one has something waiting."""
        return key in self._active

    def add(self, key: KeyT) -> None:
        """Let one take part, at the end of the ring; one that takes part already keeps its place."""
        self._active.add(key)
        self._balances.setdefault(key, self._resting.pop(key, self._quantum))

    def rest(self, key: KeyT) -> None:
        """Pass by one that takes part, until it is added or removed: what it has and owes waits for it."""
        if key in self._active:
            self._active.discard(key)
            self._resting[key] = self._balances.pop(key)

    def remove(self, key: KeyT) -> None:
        """Let one take part no more; what it has not used is lost, a debt is kept while others take part."""
        if key in self._resting:
            self._balances[key] = self._resting.pop(key)
        self._active.discard(key)
        if not self._active and not self._resting:
            self._balances.clear()
        elif self._balances.get(key, 0) > 0:
            del self._balances[key]

    def next(self) -> KeyT | None:
        """Return whose turn it is, None when nobody has something waiting; the same one until it is charged."""
        if not self._active:
            return None
        while True:
            key = next(iter(self._balances))
            if self._balances[key] > 0:
                return key
            balance = self._balances[key] + self._quantum
            if balance > 0 and key not in self._active:
                del self._balances[key]
            else:
                self._balances[key] = balance
                self._balances.move_to_end(key)

    def charge(self, key: KeyT, cost: int) -> None:
        """Take what something cost from who had it, or give back what it did not; nothing from one that is gone."""
        for balances in (self._balances, self._resting):
            if key in balances:
                balances[key] -= cost


Path = tuple[Hashable, ...]


class NestedRoundRobin:
    """Rings within one another: each key of a path has a turn among those that have the same keys before it.

    What waits has a path, all of the same length. A ring inside another that has nothing waiting is forgotten, debts
    and all: who was busy within it matters no more. One key of the outermost ring may be suspended, with all below it.
    """

    def __init__(self, quantum: int) -> None:
        self._quantum = quantum
        self._ring: DeficitRoundRobin[Hashable] = DeficitRoundRobin(quantum)
        self._inner: dict[Hashable, NestedRoundRobin] = {}
        self._suspended: set[Hashable] = set()

    def __len__(self) -> int:
        """Return how many of the outermost ring have something waiting and are not suspended."""
        return len(self._ring)

    def __contains__(self, path: Path) -> bool:
        """Return whether that path has something waiting."""
        key, *below = path
        if not below:
            return key in self._ring or key in self._suspended
        return key in self._inner and tuple(below) in self._inner[key]

    def add(self, path: Path) -> None:
        """Let a path take part."""
        key, *below = path
        if below:
            inner = self._inner.get(key)
            if inner is None:
                inner = self._inner[key] = NestedRoundRobin(self._quantum)
            inner.add(tuple(below))
        if key not in self._suspended:
            self._ring.add(key)

    def remove(self, path: Path) -> None:
        """Let a path take part no more."""
        key, *below = path
        if below:
            inner = self._inner.get(key)
            if inner is None:
                return
            inner.remove(tuple(below))
            if len(inner):
                return
            del self._inner[key]
        self._suspended.discard(key)
        self._ring.remove(key)

    def next(self) -> Path | None:
        """Return the path whose turn it is, None when nothing waits that is not suspended."""
        key = self._ring.next()
        if key is None or key not in self._inner:
            return None if key is None else (key,)
        below = self._inner[key].next()
        assert below is not None, "a ring has a turn only while something waits in it"
        return (key, *below)

    def charge(self, path: Path, cost: int) -> None:
        """Take what something cost from each key of its path."""
        key, *below = path
        self._ring.charge(key, cost)
        if below and key in self._inner:
            self._inner[key].charge(tuple(below), cost)

    def suspend(self, key: Hashable) -> None:
        """Pass by one of the outermost ring that has something waiting, until `resume`."""
        if key in self._ring:
            self._suspended.add(key)
            self._ring.rest(key)

    def resume(self, key: Hashable) -> None:
        """End a suspension, if there is one."""
        if key in self._suspended:
            self._suspended.discard(key)
            self._ring.add(key)
