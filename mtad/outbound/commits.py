"""How acceptances fare at the database, as far as it holds up who hands messages over (`mtad.model.strain`).

The oldest that waits tells how slow the database is. Once one was given up for want of an answer, the next ones are
not let in to find out the same: after AGAIN_SECONDS some may try, and until one succeeds the others are told so as soon
as these wait for more than TRY_SECONDS. Large contents do not count: they take turns for minutes. Nor does one that was
refused for what it is: the database is there to say so.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.interfaces import IReactorTime

from mtad.model.errors import NoAnswer, NoRoom
from mtad.model.strain import Strain

FULL_SECONDS = 10.0
"""How long a database that had no room for a message is taken to have none."""
AGAIN_SECONDS = 10.0
TRY_SECONDS = 1.0


class Commits:
    """The acceptances of one process."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        # When each began, the oldest first.
        self._since: dict[int, float] = {}
        self._full_until = 0.0
        self._away_since: float | None = None

    @contextmanager
    def waiting(self, content_id: int, small: bool) -> Iterator[None]:
        """Watch an acceptance from here to its commit; what it raises goes on."""
        if small:
            self._since[content_id] = self._clock.seconds()
        try:
            yield
        except NoRoom:
            self._full_until = self._clock.seconds() + FULL_SECONDS
            raise
        except NoAnswer:
            if small:
                self._away_since = self._clock.seconds()
            raise
        else:
            self._away_since = None
        finally:
            self._since.pop(content_id, None)

    def strain(self, away: bool = False) -> Strain:
        """Return how hard it is; `away` says that none can be committed whatever these tell."""
        now = self._clock.seconds()
        waiting_seconds = now - next(iter(self._since.values()), now)
        unanswered = self._away_since is not None and (
            now - self._away_since < AGAIN_SECONDS or waiting_seconds > TRY_SECONDS
        )
        return Strain(waiting_seconds, disk_full=now < self._full_until, away=away or unanswered)
