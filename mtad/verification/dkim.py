"""DKIM signatures, checked (RFC 6376 §6, RFC 8301, RFC 8463): what they claim, and whether it holds.

    plan = dkim.plan(header)                     once a message: no DNS, no body, no clock
    plan.forms, plan.questions                   what to hash of the body, and what to ask
    results = dkim.verify(facts, plan, digests, at=now)

The first ten signatures from the top are checked. One that leaves a part of the body unsigned (l=) never passes, for
what is added there is nobody's word (RFC 6376 §8.2). An unreadable signature is a permanent error, a key that could not
be asked for a temporary one. What follows from the results is `mtad.policy.authentication`'s to say.
"""

import re
from dataclasses import dataclass, replace

from mtad.model.answer import Question
from mtad.model.authentication import Dkim, Result
from mtad.model.text import shown
from mtad.verification import claims, signature_field, tags
from mtad.verification.canonical import BodyForm
from mtad.verification.claims import ENOUGH, Digests, Signature, Strength
from mtad.verification.facts import Facts
from mtad.verification.signed_header import Header
from mtad.verification.tags import Tags

MAX_SIGNATURES = 10
_SIGNATURE_OCTETS = 8
_SHOWN_ALGORITHM = 40
_SHOWN_CHARACTERS = 255
# dkim-quoted-printable's hex-octet = "=" 2HEXDIG (RFC 6376 §2.11)
_HEX_OCTET = re.compile(rb"=([0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One DKIM-Signature: what is told of it, and what to check; without the latter the result is known already."""

    told: Dkim
    signature: Signature | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to check in a message, in the order of the fields."""

    candidates: tuple[Candidate, ...]
    strength: Strength

    @property
    def forms(self) -> frozenset[BodyForm]:
        """What of the body must be hashed."""
        return frozenset(each.signature.form for each in self.candidates if each.signature)

    @property
    def questions(self) -> tuple[Question, ...]:
        """Where the keys are."""
        return tuple({each.signature.claim.question: None for each in self.candidates if each.signature})


def plan(header: Header, strength: Strength = ENOUGH) -> Plan:
    """Return what the signatures of a message claim."""
    places = header.places(b"dkim-signature")
    if places and not header.whole:
        return Plan((_unchecked(len(places), "the header has more fields than are looked at"),), strength)
    candidates = [_candidate(header, place, strength) for place in places[:MAX_SIGNATURES]]
    if len(places) > MAX_SIGNATURES:
        further = len(places) - MAX_SIGNATURES
        candidates.append(_unchecked(further, f"only the first {MAX_SIGNATURES} signatures are checked"))
    return Plan(tuple(candidates), strength)


def verify(facts: Facts, planned: Plan, digests: Digests, *, at: float) -> tuple[Dkim, ...]:
    """Return the result of each signature at `at` (epoch seconds); NotYetKnown until all keys were asked for.

    `digests` are those of the plan's `forms`.
    """
    facts.want(planned.questions)
    return tuple(_verified(facts, each, digests, at, planned.strength) for each in planned.candidates)


def _verified(facts: Facts, candidate: Candidate, digests: Digests, at: float, strength: Strength) -> Dkim:
    signature = candidate.signature
    if signature is None:
        return candidate.told
    finding = claims.check(signature, facts.lookup(signature.claim.question), digests, at, strength)
    return replace(
        candidate.told,
        result=finding.result,
        reason=finding.reason,
        key_bits=finding.key_bits,
        partial=finding.partial,
        testing=finding.testing,
    )


def _candidate(header: Header, place: int, strength: Strength) -> Candidate:
    try:
        found = tags.parse(header.value(place))
    except ValueError as error:
        return Candidate(Dkim(Result.PERMERROR, "", "", reason=str(error)), None)
    try:
        domain = signature_field.read_domain(found)
        identity = _identity(found, domain)
        _require(found)
        of_subdomain = signature_field.a_labels(identity.rpartition("@")[2]) != domain
        signature = signature_field.read(header, place, found, strength, of_subdomain=of_subdomain)
    except ValueError as error:
        return Candidate(_told(found, Result.PERMERROR, str(error)), None)
    told = replace(_told(found, Result.NONE), domain=domain, identity=shown(identity, _SHOWN_CHARACTERS))
    return Candidate(told, signature)


def _require(found: Tags) -> None:
    """Raise ValueError unless it is a DKIM signature of a mail (RFC 6376 §6.1.1)."""
    if tags.needed(found, b"v") != b"1":
        raise ValueError(f"v={shown(found[b'v'], 20)} is not known")
    if b"dns/txt" not in tags.listed(found.get(b"q", b"dns/txt")):
        raise ValueError(f"q={shown(found[b'q'], 20)} is not known")
    if b"from" not in tags.listed(tags.needed(found, b"h")):
        raise ValueError("From is not signed")


def _identity(found: Tags, domain: str) -> str:
    """Return i=, whose domain is d= or below it; ValueError when it is not (RFC 6376 §3.5)."""
    if b"i" not in found:
        return f"@{domain}"
    quoted = b"".join(found[b"i"].split())
    identity = _HEX_OCTET.sub(lambda octet: bytes((int(octet[1], 16),)), quoted).decode("utf-8", "replace")
    _, at, theirs = identity.rpartition("@")
    if not at or not f".{signature_field.a_labels(theirs)}".endswith(f".{domain}"):
        raise ValueError("i= is not of the domain")
    return identity


def _told(found: Tags, result: Result, reason: str = "") -> Dkim:
    """Return what can be told of a signature, whatever is wrong with it."""
    return Dkim(
        result,
        domain=shown(found.get(b"d", b""), _SHOWN_CHARACTERS).lower(),
        selector=shown(found.get(b"s", b""), _SHOWN_CHARACTERS),
        identity=shown(found.get(b"i", b""), _SHOWN_CHARACTERS),
        algorithm=shown(found.get(b"a", b""), _SHOWN_ALGORITHM),
        signature=shown(b"".join(found.get(b"b", b"")[: 4 * _SIGNATURE_OCTETS].split())[:_SIGNATURE_OCTETS]),
        reason=reason,
    )


def _unchecked(count: int, reason: str) -> Candidate:
    return Candidate(Dkim(Result.POLICY, "", "", reason=f"{count} not checked: {reason}"), None)
