"""Whether a login may be tried now, after those that failed: at once, after a while, or not for some time.

Who guesses is first slowed, then refused, by where it comes from: an IPv4 address or an IPv6 network of 64 bits (a
place). Of a place, guesses at one account count apart from guesses at any, for many people may share it. An account
that is guessed at from many places is only slowed. Both what others at a place do and what other places do counts only
where the place never logged in to the account: otherwise whoever knows an address, or shares one, could keep its owner
out. Counting and waiting are not done here.

Counts begin anew a quarter of an hour after the first failure in them, so no refusal lasts longer than that.
"""

from dataclasses import dataclass

WINDOW_SECONDS = 900.0
"""How long failures count, from the first of them on: what a mail client that has an old password gets to wait."""

KNOWN_SECONDS = 30 * 86400.0
"""How long a place where an account logged in is known as its own: people log in from home once a month."""

# Of one account from one place: two sessions of somebody who mistypes, then a program that tries.
_FREE_OF_PAIR, _MOST_OF_PAIR = 5, 15
# Of one place: an office behind one address has many people, and some of their phones have old passwords.
_FREE_OF_PLACE, _MOST_OF_PLACE = 30, 100
# Of one account from everywhere: more than its owner's devices make in a window.
_FREE_OF_ACCOUNT = 20

_FIRST_DELAY_SECONDS = 1.0
# RFC 5321 §4.5.3.2 lets clients wait five minutes; people's programs give up after half a minute.
_LONGEST_DELAY_SECONDS = 10.0
_DELAY_OF_ACCOUNT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class LoginFacts:
    """Failures within the window: of this account from this place, of this place, of this account from everywhere.

    `known` says that this place has logged in to this account before.
    """

    of_pair: int = 0
    of_place: int = 0
    of_account: int = 0
    known: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """Let it be tried `seconds` from now; 0 is at once."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Not:
    """Let it not be tried, until failures were forgotten."""


def decide(facts: LoginFacts) -> Later | Not:
    """Return whether the next login of this account from this place may be tried."""
    if facts.of_pair >= _MOST_OF_PAIR:
        return Not()
    own = _doubling(facts.of_pair - _FREE_OF_PAIR)
    if facts.known:
        return Later(own)
    if facts.of_place >= _MOST_OF_PLACE:
        return Not()
    guessed_at = _DELAY_OF_ACCOUNT_SECONDS if facts.of_account >= _FREE_OF_ACCOUNT else 0.0
    return Later(max(own, _doubling(facts.of_place - _FREE_OF_PLACE), guessed_at))


def _doubling(beyond: int) -> float:
    """Return the delay after that many failures beyond the free ones: 1 s, 2 s, 4 s and so on to the longest."""
    if beyond < 0:
        return 0.0
    return min(_FIRST_DELAY_SECONDS * 2.0 ** min(beyond, 16), _LONGEST_DELAY_SECONDS)
