"""The machine's clocks: the one place that reads the date and CLOCK_BOOTTIME.

Durations and timers are not its business: they are the reactor's, whose clock is monotonic (DESIGN D3).
"""

import time

from zope.interface import implementer

from mtad.interfaces import IWallClock


@implementer(IWallClock)
class SystemClock:
    """Dates as the kernel has them; they step when somebody sets the clock."""

    def now(self) -> float:
        """Return the date, in epoch seconds."""
        return time.time()

    def boottime(self) -> float:
        """Return the seconds since boot, the time asleep included (clock_gettime(2))."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
