"""The gate before every login: it is tried at once, after a while, or not, as those that failed before have it.

Who waits holds nothing but its connection; a peer that leaves waits no more. Only so many may wait, of one place and in
all: others are told to come again. A login counts once it was tried, whether its peer is still there or not.
"""

from collections import Counter
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from mtad.inbound.credentials import Paused, Refused, Visitor
from mtad.inbound.failures import Attempt, Failures
from mtad.model.tenant import Submitter
from mtad.policy.login import LoginFacts, Not, decide
from mtad.policy.peer import one_peer

MAX_WAITING = 1000
MAX_WAITING_OF_PLACE = 10


class Gate:
    """One for all ports that people log in at."""

    def __init__(self, *, failures: Failures, clock: IReactorTime) -> None:
        self._failures = failures
        self._clock = clock
        self._waiting: Counter[str] = Counter()

    async def through(self, visitor: Visitor, account: str, check: Callable[[], Awaitable[Submitter]]) -> Submitter:
        """Return what `check` does, once it may be tried; Refused by it counts as a failure of that account.

        Raises Paused when it may not be tried, and Busy when the peer left before.
        """
        attempt = Attempt(account, one_peer(visitor.host))
        facts = await self._admitted(visitor, attempt)
        try:
            submitter = await check()
        except Refused:
            await self._failures.failed(attempt)
            raise
        await self._failures.succeeded(attempt, facts)
        return submitter

    async def _admitted(self, visitor: Visitor, attempt: Attempt) -> LoginFacts:
        """Return the facts by which the login may be tried now."""
        waited = 0.0
        while True:
            facts = await self._failures.facts(attempt)
            verdict = decide(facts)
            if isinstance(verdict, Not):
                raise Paused("too many failed logins")
            # Others may have failed meanwhile, so it is looked at again.
            if verdict.seconds <= waited:
                return facts
            await self._wait(visitor, attempt.place, verdict.seconds - waited)
            waited = verdict.seconds

    async def _wait(self, visitor: Visitor, place: str, seconds: float) -> None:
        if self._waiting[place] >= MAX_WAITING_OF_PLACE or self._waiting.total() >= MAX_WAITING:
            raise Paused("too many logins wait already")
        self._waiting[place] += 1
        try:
            await visitor.wait(lambda: self._later(seconds))
        finally:
            self._waiting[place] -= 1
            if not self._waiting[place]:
                del self._waiting[place]

    def _later(self, seconds: float) -> "Deferred[None]":
        return deferLater(self._clock, seconds)
