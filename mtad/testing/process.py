"""A process' share of the one Clock: it can be stalled as by SIGSTOP, or killed as by SIGKILL, and time goes on."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer


@implementer(IReactorTime)
class ProcessClock:
    """What a world's parts schedule on. `seconds` is the Clock's, as a monotonic clock is the machine's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._missed: list[Callable[[], None]] = []
        self._stalled = False
        self._killed = False

    def seconds(self) -> float:
        """Return the Clock's time."""
        return self._clock.seconds()

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:  # noqa: A002  (the interface names it so)
        """Call after `delay` seconds; a stalled process is late, a killed one never calls."""

        def due() -> None:
            if self._killed:
                return
            if self._stalled:
                self._missed.append(lambda: callable(*args, **kwargs))
            else:
                callable(*args, **kwargs)

        return self._clock.callLater(delay, due)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """Return what is scheduled on the Clock, by this process or another."""
        return self._clock.getDelayedCalls()

    def stall(self) -> None:
        """Stop calling."""
        self._stalled = True

    def resume(self) -> None:
        """Call what came due meanwhile, in its order, and go on."""
        self._stalled = False
        missed, self._missed = self._missed, []
        for call in missed:
            call()

    def kill(self) -> None:
        """Never call again."""
        self._killed = True
