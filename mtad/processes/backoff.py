"""How long a process that ended waits to be started again: longer each time, and as before once one has lived."""

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 30.0
LIVED_SECONDS = 60.0


class Backoff:
    """1 s, then twice as long each time up to 30 s; 1 s again after a life of a minute."""

    def __init__(self) -> None:
        self._next_seconds = FIRST_SECONDS

    def after(self, lived_seconds: float) -> float:
        """Return how many seconds to wait after a process that lived so long."""
        if lived_seconds >= LIVED_SECONDS:
            self._next_seconds = FIRST_SECONDS
        pause = self._next_seconds
        self._next_seconds = min(2 * pause, LONGEST_SECONDS)
        return pause
