"""The twins of the care of domains and keys, over what a directory's twin holds.

    care = MemoryDomainCare(directory, wall.now, store)
    care.challenges["pending.example"] = "abc"

Domains are due from the moment they, or a key of theirs, are first seen; `reachable` False takes all of it away. What
is sealed is not the twin's matter: `unsealed` is what `seal` has to do.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from zope.interface import implementer

from mtad.interfaces import IDomainCare, IKeyCare
from mtad.model.dkim import SIGNED_LATE_SECONDS, VERIFIED_LATE_SECONDS, Key, KeyMove, KeyState
from mtad.model.domain_check import Check, HostedDomain, Noted, Sealed, Status, Subject
from mtad.model.errors import Unavailable
from mtad.model.identity import first_id
from mtad.testing.directory import MemoryDirectory
from mtad.testing.store import MemoryStore


@implementer(IDomainCare, IKeyCare)
class MemoryDomainCare:
    """Remembers of the directory's domains what PostgreSQL would; `now` gives the time they are first seen at.

    `store` has the mail that keys may have signed.
    """

    def __init__(self, directory: MemoryDirectory, now: Callable[[], float], store: MemoryStore) -> None:
        self.reachable = True
        self.challenges: dict[str, str] = {}
        self.hostnames: set[str] = set()
        self.unsealed = 0
        self._directory = directory
        self._now = now
        self._store = store
        self._due: dict[str, float] = {}
        self._checks: dict[str, tuple[Check, ...]] = {}
        self._lives: dict[tuple[str, str], Key] = {}

    async def due(self, now: float, until: float, limit: int) -> Sequence[HostedDomain]:
        """Return domains whose turn it is (IDomainCare)."""
        turn = [domain for domain in self._hosted() if self._due.setdefault(domain.name, now) <= now]
        turn.sort(key=lambda domain: self._due[domain.name])
        for domain in turn[:limit]:
            self._due[domain.name] = until
        return turn[:limit]

    async def hosted(self, name: str) -> HostedDomain | None:
        """Return a domain by its name (IDomainCare)."""
        return next((domain for domain in self._hosted() if domain.name == name), None)

    async def note(self, noted: Noted, now: float) -> Sequence[KeyMove]:
        """Remember what a look came to (IDomainCare)."""
        name = noted.domain.name
        if name not in {domain.name for domain in self._hosted()}:
            return []
        self._checks[name] = noted.checks
        self._due[name] = noted.due
        if noted.proven:
            self._directory.verify(name)
        return [move for move in noted.moves if self._moved(move, now)]

    async def statuses(self) -> Mapping[Subject, Mapping[Status, int]]:
        """Return how many domains have each status (IDomainCare)."""
        found: dict[Subject, Counter[Status]] = {}
        for domain in self._hosted():
            for check in domain.checks:
                found.setdefault(check.subject, Counter())[check.status] += 1
        return found

    async def names(self) -> frozenset[str]:
        """Return the host names of the nodes (IDomainCare)."""
        return frozenset(self.hostnames)

    async def revoke(self, before: float, now: float) -> Sequence[KeyMove]:
        """Revoke keys that nobody needs any more (IKeyCare)."""
        organisations = {domain.name: domain.organisation for domain, _, _ in self._directory.hosted()}
        moves = [
            KeyMove(domain.name, key.selector, KeyState.RETIRING, KeyState.REVOKED)
            for domain in self._hosted()
            for key in domain.keys
            if key.state is KeyState.RETIRING
            and (retiring_at := key.retiring_at or 0.0) < before
            and not self._is_needed(organisations[domain.name], retiring_at, now)
        ]
        return [move for move in moves if self._moved(move, now)]

    def _is_needed(self, organisation: int, retiring_at: float, now: float) -> bool:
        """Return whether there is mail, or was a moment ago, that a key may have signed which retired then."""
        unsigned = first_id(retiring_at + SIGNED_LATE_SECONDS)
        waits = any(
            message.id < unsigned and message.organisation == organisation and message.direction != "inbound"
            for message in self._store.messages.values()
        )
        return waits or any(
            happening.message < unsigned
            and happening.organisation == organisation
            and happening.at > now - VERIFIED_LATE_SECONDS
            for happening in self._store.happenings
        )

    async def seal(self, limit: int) -> Sealed:
        """Do some of what there is to do (IKeyCare)."""
        done = min(limit, self.unsealed)
        self.unsealed -= done
        return Sealed(done)

    def checks(self, name: str) -> tuple[Check, ...]:
        """Return what is held of a domain, reachable or not."""
        return self._checks.get(name, ())

    def _hosted(self) -> list[HostedDomain]:
        if not self.reachable:
            raise Unavailable("postgres", "the care of domains is away")
        return [
            HostedDomain(
                domain.id,
                domain.name,
                organisation,
                domain.verified,
                domain.claimed_at,
                self.challenges.get(domain.name, f"challenge of {domain.name}"),
                tuple(
                    self._life(domain.name, Key(key.selector, key.algorithm, key.public_key, key.state, self._now()))
                    for key in sorted(keys, key=lambda key: key.selector)
                ),
                self._checks.get(domain.name, ()),
            )
            for domain, organisation, keys in self._directory.hosted()
        ]

    def _life(self, domain: str, key: Key) -> Key:
        """Return a key with its times; in what state it is, the directory knows."""
        known = self._lives.get((domain, key.selector))
        if known is None:
            self._due.pop(domain, None)
        if known is None or known.public_key != key.public_key or known.state is not key.state:
            known = _since(key, key.created_at)
        self._lives[domain, key.selector] = known
        return known

    def _moved(self, move: KeyMove, now: float) -> bool:
        known = self._lives.get((move.domain, move.selector))
        if known is None or known.state is not move.before:
            return False
        self._directory.move(move.domain, move.selector, move.after)
        self._lives[move.domain, move.selector] = _since(replace(known, state=move.after), now)
        return True


def _since(key: Key, at: float) -> Key:
    """Return a key that is in its state since then."""
    match key.state:
        case KeyState.GENERATED:
            return key
        case KeyState.PUBLISHED:
            return replace(key, published_at=at)
        case KeyState.ACTIVE:
            return replace(key, active_at=at)
        case KeyState.RETIRING:
            return replace(key, retiring_at=at)
        case KeyState.REVOKED:
            return replace(key, revoked_at=at)
