"""What this process remembers of the directory: bounded, short-lived, and dropped when news says so.

The rule: an answer is kept only if no news of its key came between the beginning of its lookup and its end, and no
answer is older than `max_age_seconds`. News of a domain concerns all its addresses. Says nothing about how answers
are found or how news arrives (`directory`, `wakeups`).
"""

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")

MAX_ENTRIES = 100_000
MAX_AGE_SECONDS = 60.0
_ADDRESS = "address:"
_DOMAIN = "domain:"


def address_key(key: str) -> str:
    """Return the key of an address, given its `Address.key`; `mtad_directory` notifies the same form."""
    return _ADDRESS + key


def domain_key(name: str) -> str:
    """Return the key of a domain, given its A-label."""
    return _DOMAIN + name


def domain_of(key: str) -> str:
    """Return the domain a key belongs to."""
    return key.removeprefix(_DOMAIN) if key.startswith(_DOMAIN) else key.rpartition("@")[2]


class Lookup:
    """A question under way: the keys whose answers may still be kept once they are there."""

    def __init__(self, keys: Iterable[str], began_at: float) -> None:
        self.keys = set(keys)
        self.began_at = began_at

    def forget(self, key: str) -> None:
        """Take note that the answer for this key, or for all of this domain's addresses, may be old already."""
        self.keys.discard(key)
        if key.startswith(_DOMAIN):
            domain = domain_of(key)
            self.keys = {other for other in self.keys if domain_of(other) != domain}


class Cache(Generic[T]):
    """Answers by key, oldest first; above `max_entries` the oldest go."""

    def __init__(
        self, clock: IReactorTime, max_entries: int = MAX_ENTRIES, max_age_seconds: float = MAX_AGE_SECONDS
    ) -> None:
        self._clock = clock
        self._max_entries = max_entries
        self._max_age_seconds = max_age_seconds
        self._entries: dict[str, tuple[float, T]] = {}
        self._of_domain: dict[str, set[str]] = {}
        self._lookups: set[Lookup] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> T | None:
        """Return what is remembered; None when that is nothing."""
        found = self._entries.get(key)
        if found is None:
            return None
        stored_at, entry = found
        if self._clock.seconds() - stored_at >= self._max_age_seconds:
            self._drop(key)
            return None
        return entry

    def begin(self, keys: Iterable[str]) -> Lookup:
        """Note that these keys are about to be looked up; `finish` or `abandon` must follow."""
        lookup = Lookup(keys, self._clock.seconds())
        self._lookups.add(lookup)
        return lookup

    def finish(self, lookup: Lookup, answers: Mapping[str, T]) -> None:
        """Remember the answers no news came about since the lookup began; each is as old as its question."""
        self._lookups.discard(lookup)
        for key in lookup.keys & answers.keys():
            self._store(key, answers[key], lookup.began_at)

    def abandon(self, lookup: Lookup) -> None:
        """Note that a lookup came to nothing."""
        self._lookups.discard(lookup)

    def forget(self, key: str) -> None:
        """Drop what news says has changed: an address, a domain with all its addresses; all of it for any other key."""
        if not key.startswith((_ADDRESS, _DOMAIN)):
            self.flush()
            return
        for lookup in self._lookups:
            lookup.forget(key)
        concerned = self._of_domain.get(domain_of(key), set()) if key.startswith(_DOMAIN) else {key}
        for other in list(concerned):
            self._drop(other)

    def flush(self) -> None:
        """Drop everything; no lookup under way is kept either."""
        self._entries.clear()
        self._of_domain.clear()
        for lookup in self._lookups:
            lookup.keys.clear()

    def _store(self, key: str, entry: T, stored_at: float) -> None:
        self._drop(key)
        while len(self._entries) >= self._max_entries:
            self._drop(next(iter(self._entries)))
        self._entries[key] = (stored_at, entry)
        self._of_domain.setdefault(domain_of(key), set()).add(key)

    def _drop(self, key: str) -> None:
        if self._entries.pop(key, None) is None:
            return
        domain = domain_of(key)
        keys = self._of_domain[domain]
        keys.discard(key)
        if not keys:
            del self._of_domain[domain]
