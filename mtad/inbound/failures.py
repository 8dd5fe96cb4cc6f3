"""What is remembered of logins: which failed lately, and from where each account was logged in to.

All processes share the counts; this one keeps its own beside them, and the larger counts. So nothing is forgotten while
Redis is away, only less is known. Who waits how long for it is `mtad.policy.login`'s to say.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from mtad.interfaces import ICounters, IJournal
from mtad.model.errors import Unavailable
from mtad.model.text import shown
from mtad.policy.login import KNOWN_SECONDS, WINDOW_SECONDS, LoginFacts

MAX_KEPT = 30_000
"""Counts of this process' own: those of 10 000 failed logins in a window."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login to `account` (a folded address, or whatever was said) from `place` (`mtad.policy.peer.one_peer`)."""

    account: str
    place: str

    @property
    def failures(self) -> tuple[str, str, str]:
        """The keys of what LoginFacts counts: of the pair, of the place, of the account."""
        return _key("pair", self.account, self.place), _key("place", self.place), _key("account", self.account)

    @property
    def home(self) -> str:
        """The key of whether this place has logged in to this account."""
        return _key("home", self.account, self.place)


class Failures:
    """The record of logins."""

    def __init__(self, *, counters: ICounters, clock: IReactorTime, journal: IJournal) -> None:
        self._counters = counters
        self._clock = clock
        self._journal = journal
        self._away = False
        # Ends of windows and counts, the oldest window first.
        self._own: dict[str, tuple[float, int]] = {}

    async def facts(self, attempt: Attempt) -> LoginFacts:
        """Return what is known before a login is tried."""
        keys = (*attempt.failures, attempt.home)
        shared: Sequence[int] = (0, 0, 0, 0)
        try:
            shared = await self._counters.counts(keys)
            self._away = False
        except Unavailable as trouble:
            self._note(trouble)
        counts = [max(count, self._count(key)) for key, count in zip(keys, shared, strict=True)]
        return LoginFacts(counts[0], counts[1], counts[2], known=counts[3] > 0)

    async def failed(self, attempt: Attempt) -> None:
        """Count a failure."""
        for key in attempt.failures:
            self._add(key, WINDOW_SECONDS)
        try:
            for key in attempt.failures:
                await self._counters.add(key, 1, WINDOW_SECONDS)
        except Unavailable as trouble:
            self._note(trouble)

    async def succeeded(self, attempt: Attempt, facts: LoginFacts) -> None:
        """Know the place as the account's; what its owner mistyped before is forgiven. `facts` are those before.

        What others guessed at the account, or this place at others, stays counted.
        """
        pair, *_ = attempt.failures
        self._own.pop(pair, None)
        if not facts.known:
            self._add(attempt.home, KNOWN_SECONDS)
        try:
            if facts.of_pair:
                await self._counters.forget(pair)
            if not facts.known:
                await self._counters.add(attempt.home, 1, KNOWN_SECONDS)
        except Unavailable as trouble:
            self._note(trouble)

    def _note(self, trouble: Unavailable) -> None:
        """Record an outage, once."""
        if not self._away:
            self._away = True
            self._journal.record(
                "store.unavailable",
                task="count failed logins",
                dependency=trouble.dependency,
                reason=shown(trouble.reason),
            )

    def _count(self, key: str) -> int:
        ends_at, count = self._own.get(key, (0.0, 0))
        return count if ends_at > self._clock.seconds() else 0

    def _add(self, key: str, window_seconds: float) -> None:
        now = self._clock.seconds()
        ends_at, count = self._own.get(key, (0.0, 0))
        if ends_at <= now:
            self._own.pop(key, None)
            ends_at, count = now + window_seconds, 0
        while len(self._own) >= MAX_KEPT and key not in self._own:
            del self._own[next(iter(self._own))]
        self._own[key] = ends_at, count + 1


def _key(kind: str, *names: str) -> str:
    """Return a short key: names are a peer's to choose."""
    said = "\0".join(names).encode("utf-8")
    return f"login:{kind}:{hashlib.blake2s(said, digest_size=16).hexdigest()}"
