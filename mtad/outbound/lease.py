"""The lease: the right to act for what one node owns (DESIGN D8).

It is good for 10 s of the boot clock after the last beat that succeeded was sent. It may lapse and be good again, as
long as the node's row stands. Once the row is gone it has ended, and nothing that was begun under it goes on: not even
when the process is a node again, for that is another one, and others may have what the first one owned.
"""

from collections.abc import Callable

LEASE_SECONDS = 10.0

MaySend = Callable[[], bool]
"""Tells whether a message may still be sent, directly before the act that cannot be taken back."""


def always() -> bool:
    """Return that it may be: who has no lease loses none."""
    return True


class Lease:
    """The lease of the node `owner`, from when its first sign was sent; `boottime` tells the seconds it is measured by.

    `ended` says that it will never be good again.
    """

    def __init__(self, owner: int, sent_at: float, boottime: Callable[[], float]) -> None:
        self.owner = owner
        self.ended = False
        self._boottime = boottime
        self._good_until = sent_at + LEASE_SECONDS

    @property
    def good(self) -> bool:
        """Whether the node may act this moment."""
        return not self.ended and self._boottime() < self._good_until

    def renew(self, sent_at: float) -> None:
        """Let it be good for its time after a beat that was sent then, and succeeded."""
        self._good_until = sent_at + LEASE_SECONDS

    def end(self) -> None:
        """Let it be over: the node is no more."""
        self.ended = True
