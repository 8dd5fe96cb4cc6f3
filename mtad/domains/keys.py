"""The lives of keys: what moves a key on, what comes next, and how the next one is called.

A key signs once its record was seen, and seen again a while later; then those of its kind that signed before it retire.
Only the DNS and time move keys here; the operator's word does so elsewhere.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from string import ascii_lowercase

from mtad.model.dkim import VERIFIED_LATE_SECONDS, Key, KeyMove, KeyState, key_type
from mtad.model.domain_check import Seen
from mtad.model.errors import InvalidInput

SETTLING_SECONDS = 600.0
"""Between the first sight of a record and the first signature, so that it is everywhere."""


def moves(domain: str, keys: Sequence[Key], seen: Mapping[str, Seen], now: float) -> tuple[KeyMove, ...]:
    """Return how keys move on at `now` (epoch seconds), given of which the records were seen."""
    there = [key for key in keys if seen.get(key.selector) is Seen.YES]
    found = [
        KeyMove(domain, key.selector, KeyState.GENERATED, KeyState.PUBLISHED)
        for key in there
        if key.state is KeyState.GENERATED
    ]
    ready = [key for key in there if key.state is KeyState.PUBLISHED and _has_settled(key, now)]
    return (*found, *activation(domain, keys, ready))


def activation(domain: str, keys: Sequence[Key], ready: Collection[Key]) -> tuple[KeyMove, ...]:
    """Return the moves that let keys sign from now on, and those of their kind that did so retire."""
    kinds = {key_type(key.algorithm) for key in ready}
    return (
        *(KeyMove(domain, key.selector, key.state, KeyState.ACTIVE) for key in ready),
        *(
            KeyMove(domain, key.selector, KeyState.ACTIVE, KeyState.RETIRING)
            for key in keys
            if key.state is KeyState.ACTIVE and key_type(key.algorithm) in kinds
        ),
    )


def awaited(key: Key, now: float, lifetime_seconds: float) -> str:
    """Return what a key waits for, for people; `lifetime_seconds` is how long mail is tried to be delivered."""
    match key.state:
        case KeyState.GENERATED:
            return "its record in the DNS"
        case KeyState.PUBLISHED:
            return "a second sight of its record"
        case KeyState.ACTIVE:
            return "" if key.published_at is not None else "nothing; it signs by the operator's word"
        case KeyState.RETIRING:
            assert key.retiring_at is not None
            ends_at = needed_until(key.retiring_at, lifetime_seconds)
            if ends_at < now:
                return "its record is needed: mail it may have signed was held and is still here, or just left"
            return f"its record is needed until {datetime.fromtimestamp(ends_at, UTC):%Y-%m-%d %H:%M} UTC"
        case KeyState.REVOKED:
            return "its record may go"


def needed_until(retiring_at: float, lifetime_seconds: float) -> float:
    """Return until when (epoch seconds) the record of a key is needed that does not sign any more (DESIGN D9).

    For longer where mail of its organisation was held or quarantined (IKeyCare.revoke).
    """
    return retiring_at + lifetime_seconds + VERIFIED_LATE_SECONDS


def next_selector(now: float, taken: Collection[str]) -> str:
    """Return a selector of that day that no key has had: `s20261122a`. InvalidInput when there is none left."""
    day = f"s{datetime.fromtimestamp(now, UTC):%Y%m%d}"
    for letter in ascii_lowercase:
        if day + letter not in taken:
            return day + letter
    raise InvalidInput(day, "has all its letters taken: name a selector")


def _has_settled(key: Key, now: float) -> bool:
    return key.published_at is not None and now - key.published_at >= SETTLING_SECONDS
