"""Who a message is from, as far as the DNS and signatures tell: the results of SPF, DKIM, ARC, DMARC and iprev.

Values only. Results are the words of RFC 8601 §2.7, so that they can be shown as they are. `reason` is for people: it
names the mechanism, record or signature that decided, and is fit to be shown. What a result means for a message is
`mtad.policy.authentication`'s to say.
"""

from dataclasses import dataclass
from enum import Enum


class Result(Enum):
    """How a check ended; which of them a method can have is that method's RFC's."""

    NONE = "none"
    PASS = "pass"  # noqa: S105 - a result, no password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    POLICY = "policy"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Strictness(Enum):
    """What a receiving domain makes of a check: nothing, a note, or a refusal."""

    OFF = "off"
    MONITOR = "monitor"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class Checks:
    """How strictly a domain's mail is checked."""

    spf: Strictness = Strictness.MONITOR
    dkim: Strictness = Strictness.MONITOR
    dmarc: Strictness = Strictness.ENFORCE


@dataclass(frozen=True, slots=True)
class OwnChecks:
    """What a domain says itself of how strictly its mail is checked; None where it leaves that to the server."""

    spf: Strictness | None = None
    dkim: Strictness | None = None
    dmarc: Strictness | None = None

    def over(self, default: Checks) -> Checks:
        """Return what holds for the domain on a server of those defaults."""
        return Checks(self.spf or default.spf, self.dkim or default.dkim, self.dmarc or default.dmarc)


AS_THE_SERVER = OwnChecks()
"""It says nothing."""


@dataclass(frozen=True, slots=True)
class Spf:
    """SPF of one identity (RFC 7208 §2.6): `identity` is mailfrom or helo, `domain` what was checked, an A-label.

    `explanation` is what the domain's owner says to a fail (§6.2), fit to be shown, empty when nothing.
    """

    result: Result
    identity: str
    domain: str
    reason: str = ""
    explanation: str = ""


@dataclass(frozen=True, slots=True)
class Dkim:
    """One DKIM-Signature (RFC 6376 §3.9): its d=, s=, i= and a= as far as they could be read, and b= shortened.

    `partial` tells that l= leaves a part of the body unsigned; `testing` that the key says t=y. `key_bits` is None
    until the key is known.
    """

    result: Result
    domain: str
    selector: str
    identity: str = ""
    algorithm: str = ""
    signature: str = ""
    reason: str = ""
    key_bits: int | None = None
    partial: bool = False
    testing: bool = False


@dataclass(frozen=True, slots=True)
class Arc:
    """The chain as validated here (RFC 8617 §5.2): NONE, PASS or FAIL.

    `sealers` are the d= of the seals, the oldest first; `oldest_pass` is the instance from which on all
    message signatures hold, 0 when all do. `dmarc_passed` tells for each sealer, when the chain passes, whether its own
    results said that DMARC passed. `temporary` tells of a FAIL that it is for a key that could not be asked for.
    """

    result: Result
    reason: str = ""
    sealers: tuple[str, ...] = ()
    dmarc_passed: tuple[bool, ...] = ()
    oldest_pass: int = 0
    temporary: bool = False


class DmarcPolicy(Enum):
    """What the owner of the author's domain asks for (RFC 9989 §4.7)."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Dmarc:
    """DMARC of the author's domain `domain` (RFC 9989 §5.3), whose record was found at `record_domain`.

    `policy` is what applies to it, the `sp`, `np` and `t` of the record already considered: the strictest that may
    apply where the DNS leaves that open, None when there is no record or none is known. `aligned` names what passed in
    alignment, such as `dkim=example.org`.
    """

    result: Result
    domain: str = ""
    record_domain: str = ""
    policy: DmarcPolicy | None = None
    aligned: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Iprev:
    """Whether the peer's address has a name that has that address (RFC 8601 §3)."""

    result: Result
    name: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Authentication:
    """All of a message's results. `answers` are the DNS answers that mattered, a line each, fit to be shown."""

    spf: tuple[Spf, ...] = ()
    dkim: tuple[Dkim, ...] = ()
    arc: Arc = Arc(Result.NONE)
    dmarc: Dmarc = Dmarc(Result.NONE)
    iprev: Iprev = Iprev(Result.NONE)
    answers: tuple[str, ...] = ()
