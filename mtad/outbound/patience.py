"""How long a connection to a server is waited on: each single wait has its time, and all of them together have one.

The times are RFC 5321 §4.5.3.2's. The limit on the whole is there for servers that are always just in time; it does
not hold for the answer to the final dot, which is worth waiting for (`mtad.smtp.timeouts`).
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mtad.smtp import timeouts
from mtad.smtp.answers import Step

_SECONDS = {
    Step.GREETING: timeouts.GREETING_SECONDS,
    Step.HELLO: timeouts.GREETING_SECONDS,
    Step.STARTTLS: timeouts.GREETING_SECONDS,
    Step.AUTH_PROMPT: timeouts.GREETING_SECONDS,
    Step.AUTH: timeouts.GREETING_SECONDS,
    Step.RSET: timeouts.GREETING_SECONDS,
    Step.MAIL: timeouts.MAIL_SECONDS,
    Step.RCPT: timeouts.RCPT_SECONDS,
    Step.DATA: timeouts.DATA_SECONDS,
    Step.END: timeouts.END_SECONDS,
    Step.QUIT: timeouts.GREETING_SECONDS,
}


class Patience:
    """One connection's. `over` is told, in words for the log, what took too long."""

    def __init__(self, clock: IReactorTime, over: Callable[[str], None]) -> None:
        self._clock = clock
        self._over = over
        self._timer: IDelayedCall | None = None
        self._late = ""
        self._limit_seconds = timeouts.OPENING_SECONDS
        self._limited = True
        self._began_at = 0.0

    def limit(self, seconds: float) -> None:
        """Bound what begins now as a whole."""
        self._limited = True
        self._limit_seconds = seconds
        self._began_at = self._clock.seconds()

    def lift_limit(self) -> None:
        """Let what began take as long as its single waits do."""
        self._limited = False

    def wait_for_reply(self, step: Step) -> None:
        """Give the server its time for the reply it owes."""
        self.wait(_SECONDS[step], f"no reply to {step.value}")

    def wait(self, seconds: float, late: str) -> None:
        """Wait so long from now on, instead of what was waited for; `late` says what did not happen."""
        self._late = f"{late} within {seconds:g} s"
        left = self._began_at + self._limit_seconds - self._clock.seconds()
        if self._limited and left < seconds:
            seconds = max(0.0, left)
            self._late = f"all in all it took longer than {self._limit_seconds:g} s"
        if self._timer is None:
            self._timer = self._clock.callLater(seconds, self._timed_out)
        else:
            self._timer.reset(seconds)

    def stop(self) -> None:
        """Wait for nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timed_out(self) -> None:
        self._timer = None
        self._over(self._late)
