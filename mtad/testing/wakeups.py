"""The wake-ups' twin: news is what a test says it is, told at once."""

from collections.abc import Callable

from zope.interface import implementer

from mtad.interfaces import IWakeups


@implementer(IWakeups)
class MemoryWakeups:
    """Tells everybody who listens what `notify` and `lose` are given; `told` is all news so far.

    While it is `muted` nobody hears what is notified.
    """

    def __init__(self) -> None:
        self.muted = False
        self.told: list[tuple[str, str]] = []
        self._listeners: list[tuple[Callable[[str, str], None], Callable[[], None]]] = []

    def listen(self, heard: Callable[[str, str], None], lost: Callable[[], None]) -> None:
        """Call `heard` and `lost` as IWakeups promises."""
        self._listeners.append((heard, lost))

    def notify(self, channel: str, payload: str) -> None:
        """Let everybody hear this."""
        self.told.append((channel, payload))
        for heard, _ in self._listeners if not self.muted else ():
            heard(channel, payload)

    def lose(self) -> None:
        """Let everybody know that news may have gone by unheard."""
        for _, lost in self._listeners:
            lost()
