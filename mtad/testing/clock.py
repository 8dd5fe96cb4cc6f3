"""The wall clock's twin: dates and boot time that follow a `Clock`, and can be made to step or to sleep."""

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mtad.interfaces import IWallClock

START = 1_800_000_000.0
BOOTED_BEFORE_SECONDS = 1_000.0


@implementer(IWallClock)
class MemoryWallClock:
    """At `clock.seconds() == 0` it is `start` (epoch seconds), and the machine is up for a thousand seconds."""

    def __init__(self, clock: IReactorTime, start: float = START) -> None:
        self._clock = clock
        self._date_offset = start
        self._boot_offset = BOOTED_BEFORE_SECONDS
        self._sleep: tuple[int, float] | None = None

    def now(self) -> float:
        """Return the date, in epoch seconds."""
        return self._clock.seconds() + self._date_offset

    def boottime(self) -> float:
        """Return the seconds since the machine was started, asleep or not."""
        reading = self._clock.seconds() + self._boot_offset
        if self._sleep is not None:
            left, seconds = self._sleep
            self._sleep = (left - 1, seconds) if left > 1 else None
            if self._sleep is None:
                self.suspend(seconds)
        return reading

    def step(self, seconds: float) -> None:
        """Set the date forward, or back when negative, as an operator or NTP does; nothing else moves."""
        self._date_offset += seconds

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: date and boot time go on, timers do not."""
        self._date_offset += seconds
        self._boot_offset += seconds

    def suspend_after(self, readings: int, seconds: float) -> None:
        """Let the machine sleep once boot time was read so often, at least once: between two steps of one turn."""
        self._sleep = (readings, seconds)

    @property
    def is_to_sleep(self) -> bool:
        """Whether the sleep that `suspend_after` announced is still to come."""
        return self._sleep is not None
