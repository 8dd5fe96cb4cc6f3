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

    def now(self) -> float:
        """Return the date, in epoch seconds."""
        return self._clock.seconds() + self._date_offset

    def boottime(self) -> float:
        """Return the seconds since the machine was started, asleep or not."""
        return self._clock.seconds() + self._boot_offset

    def step(self, seconds: float) -> None:
        """Set the date forward, or back when negative, as an operator or NTP does; nothing else moves."""
        self._date_offset += seconds

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: date and boot time go on, timers do not."""
        self._date_offset += seconds
        self._boot_offset += seconds
