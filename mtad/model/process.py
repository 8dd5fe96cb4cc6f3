"""Which process of a server this is, and whether it is to work."""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Part:
    """The process `number` of `count` on the same sockets, under a supervisor; or one alone, without."""

    number: int = 1
    count: int = 1
    supervised: bool = False

    def share(self, whole: int) -> int:
        """Return this process' share of a limit that holds for all of them: rounded up, so that nobody has none."""
        return -(-whole // self.count)


ALONE = Part()


class Standing(Enum):
    """What a node's row says of it: there is none; it works; it takes nothing new and gives back what it has."""

    GONE = "gone"
    WORKING = "working"
    DRAINING = "draining"
