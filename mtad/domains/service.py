"""DomainCare: looks at hosted domains in turn, moves their keys on, seals and revokes, and tells how things stand.

Any number of processes may do it: whose turn a domain is, and what was written of it, `IDomainCare` keeps apart. A look
that fails is done again when the domain is due again.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.python.failure import Failure

from mtad.domains.dns_check import Server
from mtad.domains.keys import needed_until
from mtad.domains.look import Lookups, look, noted
from mtad.interfaces import IDomainCare, IJournal, IKeyCare, IWallClock
from mtad.model.dkim import KeyMove
from mtad.model.domain_check import Check, HostedDomain, Noted, Status, Subject

ROUND_SECONDS = 60.0
SWEEP_SECONDS = 600.0
TELL_SECONDS = 60.0
LEASE_SECONDS = 900.0
AT_ONCE = 10
A_BATCH = 50
A_ROUND = 500
SEALED_AT_ONCE = 100


class Rounds(Protocol):
    """What does work again and again, and waits for it at the end (`mtad.outbound.tasks`)."""

    def every(self, interval_seconds: float, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Do `work` now and then every so often."""

    async def stop(self) -> None:
        """Begin no more rounds and wait for what runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where domains and keys are."""

    domains: IDomainCare
    keys: IKeyCare


class DomainCare(Service):
    """Looks after the domains of `stores` as `server`, whose mail lives for `lifetime_seconds`."""

    name = "domain care"

    def __init__(
        self,
        *,
        stores: Stores,
        lookups: Callable[[], Lookups],
        server: Server,
        wall: IWallClock,
        journal: IJournal,
        chance: Callable[[], float],
        rounds: Rounds,
        lifetime_seconds: float,
    ) -> None:
        self._stores = stores
        self._lookups = lookups
        self._server = server
        self._wall = wall
        self._journal = journal
        self._chance = chance
        self._rounds = rounds
        self._lifetime_seconds = lifetime_seconds
        self._stopping = False

    def startService(self) -> None:
        """Begin the rounds."""
        super().startService()
        self._rounds.every(ROUND_SECONDS, self._look_round, "domain care")
        self._rounds.every(SWEEP_SECONDS, self._sweep, "key care")
        self._rounds.every(TELL_SECONDS, self._tell, "domain statuses")

    def stopService(self) -> Deferred[None]:
        """Look at no more domains, and wait for the looks under way."""
        self._stopping = True
        return Deferred.fromCoroutine(self._rounds.stop())

    async def _look_round(self) -> None:
        """Look at the domains that are due, a batch after the other."""
        server = replace(self._server, names=self._server.names | await self._stores.domains.names())
        for _ in range(A_ROUND // A_BATCH):
            now = self._wall.now()
            batch = await self._stores.domains.due(now, now + LEASE_SECONDS, A_BATCH)
            await self._look_at(batch, server)
            if len(batch) < A_BATCH or self._stopping:
                return

    async def _look_at(self, batch: Sequence[HostedDomain], server: Server) -> None:
        turns = DeferredSemaphore(AT_ONCE)

        def one(domain: HostedDomain) -> Deferred[None]:
            return Deferred.fromCoroutine(self._look_at_one(domain, server))

        looks: list[Deferred[object]] = [turns.run(one, domain) for domain in batch]
        results: Sequence[tuple[bool, object]] = await DeferredList(looks, consumeErrors=True)
        for _, failure in results:
            if isinstance(failure, Failure):
                failure.raiseException()

    async def _look_at_one(self, domain: HostedDomain, server: Server) -> None:
        if self._stopping:
            return
        found = await look(domain, self._lookups(), server, self._wall.now())
        now = self._wall.now()
        result = noted(found, now, self._chance())
        moved = await self._stores.domains.note(result, now)
        tell_of(self._journal, result, moved)

    async def _sweep(self) -> None:
        """Revoke the keys nobody needs any more, and seal what is to be sealed."""
        now = self._wall.now()
        before = now - needed_until(0, self._lifetime_seconds)
        tell_of_moves(self._journal, await self._stores.keys.revoke(before, now))
        sealed = await self._stores.keys.seal(SEALED_AT_ONCE)
        if sealed.count:
            self._journal.record("dkim.sealed", count=sealed.count)
        for locked in sealed.locked:
            self._journal.record(
                "dkim.key_locked", domain=locked.domain, selector=locked.selector, master_key=locked.master_key
            )

    async def _tell(self) -> None:
        statuses = await self._stores.domains.statuses()
        for subject in Subject:
            counts = statuses.get(subject, {})
            told = {status.value: counts.get(status, 0) for status in Status}
            self._journal.record("domain.statuses", subject=subject.value, **told)


def tell_of(journal: IJournal, result: Noted, moved: Iterable[KeyMove]) -> None:
    """Record what a look changed: statuses, the ownership, keys."""
    domain = result.domain
    if result.proven:
        journal.record("domain.verified", domain=domain.name, organisation=domain.organisation)
    for check in result.checks:
        if _is_news(domain.check(check.subject), check):
            event = "domain.check_bad" if check.status is Status.BAD else "domain.check_good"
            journal.record(event, domain=domain.name, subject=check.subject.value, detail=check.detail)
    tell_of_moves(journal, moved)


def tell_of_moves(journal: IJournal, moved: Iterable[KeyMove]) -> None:
    """Record that keys moved on."""
    for move in moved:
        journal.record(
            "dkim.key_moved",
            domain=move.domain,
            selector=move.selector,
            before=move.before.value,
            after=move.after.value,
        )


def _is_news(before: Check | None, after: Check) -> bool:
    return after.status is not Status.UNKNOWN and (before is None or before.status is not after.status)
