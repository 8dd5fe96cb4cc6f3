"""What mail takes of this process' memory, counted where it is held, against a budget (pure).

Whoever holds octets of mail has a Stake and says how many there are: nothing has to be balanced, and one that is let
go of counts no more. The budget is of octets of mail, not of the process: what Python, libraries and idle sessions take
comes on top, and is much the same whatever the mail is. What is in the spool is on a disk, and takes none of it.
"""

from collections import Counter
from enum import Enum

LEAST_WORKING_OCTETS = 24 * 1024 * 1024
WORKING_SHARE = 8


def budget_of(octets: int) -> int:
    """Return how much of so much memory may be held.

    The rest, an eighth, is for octets on their way, which nobody counts: batches for the database, blocks for sockets
    and other processes, and what is lost between one and the next.
    """
    return octets - max(LEAST_WORKING_OCTETS, octets // WORKING_SHARE)


class Use(Enum):
    """What memory is used for: octets not read yet, messages until they are accepted, and jobs until they are done."""

    # It is counted by several times a message; the hash that Enum has is not C.
    __hash__ = object.__hash__

    INPUT = "input"
    INCOMING = "incoming"
    DELIVERY = "delivery"


class Memory:
    """The account of a process. `budget` is in octets."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._used: Counter[Use] = Counter()
        self._total = 0

    @property
    def used(self) -> int:
        """How many octets are held."""
        return self._total

    @property
    def share(self) -> float:
        """How much of the budget is used; above 1 when more is held than there should be."""
        return self._total / self.budget

    def of(self, use: Use) -> int:
        """Return how many octets are held for that."""
        return self._used[use]

    def fits(self, octets: int) -> bool:
        """Return whether so many more are within the budget."""
        return self._total + octets <= self.budget

    def stake(self, use: Use) -> "Stake":
        """Return what somebody new tells its octets by."""
        return Stake(self, use)

    def move(self, use: Use, octets: int) -> None:
        """Count more octets, or with a negative number fewer; a Stake does this for its owner."""
        self._used[use] += octets
        self._total += octets


class Stake:
    """The octets one owner holds; none at first."""

    __slots__ = ("_closed", "_memory", "_use", "octets")

    def __init__(self, memory: Memory, use: Use) -> None:
        self._memory = memory
        self._use = use
        self._closed = False
        self.octets = 0

    def hold(self, octets: int) -> None:
        """Say how many octets are held now."""
        if octets != self.octets and not self._closed:
            self._memory.move(self._use, octets - self.octets)
            self.octets = octets

    def close(self) -> None:
        """Hold nothing for good: what the owner had begun may end after it, and nobody would let go of that."""
        self.hold(0)
        self._closed = True

    def may_hold(self, octets: int) -> bool:
        """Return whether so many, instead of those held now, are within the budget; fewer always are."""
        return octets <= self.octets or self._memory.fits(octets - self.octets)
