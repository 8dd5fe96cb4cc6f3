"""What happened to servers lately, by address: remembered for a while, in bounded room, by this process alone."""

from twisted.internet.interfaces import IReactorTime

MAX_ENTRIES = 1000


class Lately:
    """The addresses noted within the last `seconds`; of more than MAX_ENTRIES the oldest is forgotten."""

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._until: dict[str, float] = {}

    def __contains__(self, address: str) -> bool:
        return self._until.get(address, 0.0) > self._clock.seconds()

    def note(self, address: str) -> None:
        """Remember an address from now on."""
        self.forget(address)
        if len(self._until) == MAX_ENTRIES:
            del self._until[next(iter(self._until))]
        self._until[address] = self._clock.seconds() + self._seconds

    def forget(self, address: str) -> None:
        """Remember an address no longer."""
        self._until.pop(address, None)
