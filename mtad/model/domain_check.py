"""What the DNS should say of a hosted domain, what it says, and what is made of that over time."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from mtad.model.dkim import Key, KeyMove

CHALLENGE_LABEL = "_mtad-challenge"
CHALLENGE_PREFIX = "mtad-domain-verification="


class Subject(Enum):
    """What is looked at."""

    OWNERSHIP = "ownership"
    MX = "mx"
    SPF = "spf"
    DKIM = "dkim"
    DMARC = "dmarc"


class Verdict(Enum):
    """What one look found: as expected, not so, nothing that could be expected, or trouble with the DNS."""

    GOOD = "good"
    BAD = "bad"
    NOTHING = "nothing to check"
    TROUBLE = "no answer"


class Status(Enum):
    """What is held of a subject after many looks."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


class Seen(Enum):
    """Whether the record of a key is there with the right key."""

    YES = "yes"
    NO = "no"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at a subject came to; both texts are for people and fit to be shown."""

    subject: Subject
    verdict: Verdict
    expected: str
    seen: str


@dataclass(frozen=True, slots=True)
class Check:
    """What is held of a subject `since` then; times are epoch seconds.

    `detail` is what was seen last, `failures` how many looks in a row were bad, the first of them at `failing_since`.
    """

    subject: Subject
    status: Status
    detail: str
    since: float
    checked_at: float
    failures: int = 0
    failing_since: float | None = None


@dataclass(frozen=True, slots=True)
class HostedDomain:
    """A domain that somebody claimed here, with its keys by selector and what is held of it.

    `challenge` is what proves whose it is; `organisation` a name, `claimed_at` epoch seconds.
    """

    id: int
    name: str
    organisation: str
    verified: bool
    claimed_at: float
    challenge: str
    keys: tuple[Key, ...] = ()
    checks: tuple[Check, ...] = ()

    def check(self, subject: Subject) -> Check | None:
        """Return what is held of a subject; None before it was looked at."""
        return next((check for check in self.checks if check.subject is subject), None)


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a domain found, subject by subject, and by selector which keys' records are there."""

    domain: HostedDomain
    findings: tuple[Finding, ...]
    seen: Mapping[str, Seen]

    @property
    def proves(self) -> bool:
        """Whether it proves the ownership of a domain that was not verified."""
        return not self.domain.verified and any(
            finding.subject is Subject.OWNERSHIP and finding.verdict is Verdict.GOOD for finding in self.findings
        )


@dataclass(frozen=True, slots=True)
class Noted:
    """What to write after a look at a domain: all its `checks`, keys that move on, that its ownership is proven.

    `due` is when to look again (epoch seconds).
    """

    domain: HostedDomain
    checks: tuple[Check, ...]
    moves: tuple[KeyMove, ...]
    proven: bool
    due: float


@dataclass(frozen=True, slots=True)
class Locked:
    """A private key that no master key opens: `master_key` is the id of the one that is missing or wrong."""

    domain: str
    selector: str
    master_key: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """What became of private keys that were to be sealed: how many are now, and those that stay as they are."""

    count: int
    locked: tuple[Locked, ...] = ()


def challenge_name(domain: str) -> str:
    """Return the name whose TXT record proves whose a domain is."""
    return f"{CHALLENGE_LABEL}.{domain}"


def challenge_text(challenge: str) -> str:
    """Return what that record has to say."""
    return f"{CHALLENGE_PREFIX}{challenge}"
