"""DMARC of an author's domain: whose record applies, what it asks for, and whether anything is aligned (RFC 9989).

Organisational domains are found by the tree walk (§4.10), at most eight questions a domain; records of RFC 7489 are
read by the same rules, for which `pct` and its like are unknown tags. It never waits: an answer that is not known ends
the run (`mtad.verification.facts`). What follows from a failure is `mtad.policy.authentication`'s to say.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mtad.model.answer import Kind, Question, Status
from mtad.model.authentication import Dmarc, DmarcPolicy, Result
from mtad.model.errors import MtadError
from mtad.verification.facts import Facts

MAX_AUTHORS = 10
MAX_LABELS_WALKED = 7
MAX_RECORD_OCTETS = 10_000

# dmarc-version = "v" equals %s"DMARC1", and the end or a separator behind it (RFC 9989 §4.8)
_VERSION = re.compile(rb"[vV][ \t]*+=[ \t]*+DMARC1[ \t]*+(?:;|\Z)")
# URI = scheme ":" hier-part (RFC 3986 §3), and what RFC 7489 §6.2 let follow
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:[^\s,!;]++(?:![0-9]++[kmgtKMGT]?)?")
_STRICTNESS = tuple(DmarcPolicy)


class _Trouble(MtadError):
    """The DNS does not say; the text is for people."""


class _Ambiguous(MtadError):
    """There are several records where one is allowed."""


@dataclass(frozen=True, slots=True)
class Record:
    """A DMARC policy record. `policy` is None when nothing in it can be applied (RFC 9989 §4.10.1)."""

    policy: DmarcPolicy | None
    subdomains: DmarcPolicy | None
    nonexistent: DmarcPolicy | None
    psd: str
    strict_dkim: bool
    strict_spf: bool
    testing: bool


def parse(text: bytes) -> Record | None:
    """Return the record a TXT record holds; None when it is none of this version."""
    if len(text) > MAX_RECORD_OCTETS or not _VERSION.match(text):
        return None
    tags: dict[str, str] = {}
    for part in text.decode("utf-8", "replace").split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip(" \t").lower(), value.strip(" \t"))
    policies = {name: _policy(tags.get(name)) for name in ("p", "sp", "np")}
    invalid = policies["p"] is None or any(name in tags and policies[name] is None for name in ("sp", "np"))
    if invalid:
        reported = any(_URI.fullmatch(uri.strip(" \t")) for uri in tags.get("rua", "").split(","))
        policies = {"p": DmarcPolicy.NONE if reported else None, "sp": None, "np": None}
    return Record(
        policy=policies["p"],
        subdomains=policies["sp"],
        nonexistent=policies["np"],
        psd=tags.get("psd", "u").lower(),
        strict_dkim=tags.get("adkim", "r").lower() == "s",
        strict_spf=tags.get("aspf", "r").lower() == "s",
        testing=tags.get("t", "n").lower() == "y",
    )


@dataclass(frozen=True, slots=True)
class Identifiers:
    """What is authenticated: the domain SPF passed for, and those of DKIM signatures that passed."""

    spf: str | None = None
    dkim: tuple[str, ...] = ()


NOBODY = Identifiers()


def evaluate(facts: Facts, authors: Sequence[str], identifiers: Identifiers, undecided: Identifiers = NOBODY) -> Dmarc:
    """Return what DMARC says of a message; NotYetKnown.

    `authors` are the domains of the From field, A-labels without repeats. Of several the one that fares worst counts
    (RFC 9989 §11.5). Of `undecided` trouble with the DNS left open whether they passed.
    """
    if not authors:
        return Dmarc(Result.PERMERROR, reason="the From field names no domain")
    if len(authors) > MAX_AUTHORS:
        return Dmarc(Result.PERMERROR, reason=f"the From field names more than {MAX_AUTHORS} domains")
    found = [_of_one(facts, author, identifiers, undecided) for author in authors]
    return max(found, key=_badness)


def _badness(dmarc: Dmarc) -> tuple[int, int]:
    harmless = dmarc.result is Result.TEMPERROR and dmarc.policy is DmarcPolicy.NONE
    order = (Result.PASS, Result.NONE, Result.FAIL, Result.TEMPERROR)
    result = Result.NONE if harmless else dmarc.result
    # One that is open is worse than one of which nothing is asked.
    return order.index(result), _STRICTNESS.index(dmarc.policy) + harmless if dmarc.policy else 0


def _of_one(facts: Facts, author: str, identifiers: Identifiers, undecided: Identifiers) -> Dmarc:
    try:
        applied, record = _applied(facts, author)
    except _Ambiguous:
        return Dmarc(Result.NONE, author, reason="several DMARC records where one is allowed")
    except _Trouble as trouble:
        return Dmarc(Result.TEMPERROR, author, reason=str(trouble))
    if record is None or record.policy is None:
        reason = "no DMARC record" if record is None else "the DMARC record has no usable policy"
        return Dmarc(Result.NONE, author, applied, reason=reason)
    policies, open_because = _possible(facts, author, applied, record)
    policy = max(policies, key=_STRICTNESS.index)
    aligned: tuple[str, ...] = ()
    try:
        aligned = _aligned(facts, author, record, identifiers)
        if not aligned and _aligned(facts, author, record, undecided):
            # Neither pass nor fail where a query did not complete (RFC 9989 §5.3.6).
            open_because = "the DNS left open whether the author's domain passes"
    except _Trouble as trouble:
        open_because = str(trouble)
    if open_because and not aligned:
        return Dmarc(Result.TEMPERROR, author, applied, policy=policy, reason=open_because)
    return Dmarc(
        Result.PASS if aligned else Result.FAIL,
        author,
        applied,
        policy=policy,
        aligned=aligned,
        reason="" if aligned else "nothing that passed is aligned with the author's domain",
    )


def _applied(facts: Facts, author: str) -> tuple[str, Record | None]:
    """Return the domain whose record applies to an author's, and that record (RFC 9989 §4.10.1)."""
    own = _record_at(facts, author)
    if own is not None:
        return author, own
    found = _walk(facts, author)
    organisational = _organisational(author, found)
    if organisational in found:
        return organisational, found[organisational]
    return next(((domain, record) for domain, record in found.items() if record.psd == "y"), ("", None))


def _possible(facts: Facts, author: str, applied: str, record: Record) -> tuple[set[DmarcPolicy], str]:
    """Return which of a record's policies is meant for the author's domain (RFC 9989 §4.7).

    It is one, or where the DNS does not say whether that domain exists perhaps two; then also why.
    """
    assert record.policy is not None
    if applied == author:
        return {_tested(record.policy, record.testing)}, ""
    existing = _tested(record.subdomains or record.policy, record.testing)
    if record.nonexistent is None:
        return {existing}, ""
    nonexistent = _tested(record.nonexistent, record.testing)
    try:
        return {existing if _exists(facts, author) else nonexistent}, ""
    except _Trouble as trouble:
        either = {existing, nonexistent}
        return either, str(trouble) if len(either) > 1 else ""


def _tested(policy: DmarcPolicy, testing: bool) -> DmarcPolicy:
    """Return the policy one level below while it is being tested (RFC 9989 §4.7, t=y)."""
    return _STRICTNESS[max(0, _STRICTNESS.index(policy) - testing)]


def _aligned(facts: Facts, author: str, record: Record, identifiers: Identifiers) -> tuple[str, ...]:
    """Return what is aligned; trouble counts only when nothing is (RFC 9989 §4.4)."""
    passed = [("spf", identifiers.spf, record.strict_spf)] if identifiers.spf else []
    passed += [("dkim", domain, record.strict_dkim) for domain in dict.fromkeys(identifiers.dkim)]
    found = [f"{method}={domain}" for method, domain, _ in passed if domain == author]
    if found:
        return tuple(found)
    trouble: _Trouble | None = None
    for method, domain, strict in passed:
        try:
            if not strict and _organisational_domain(facts, author) == _organisational_domain(facts, domain):
                found.append(f"{method}={domain}")
        except _Trouble as met:
            trouble = met
    if trouble is not None and not found:
        raise trouble
    return tuple(found)


def _organisational_domain(facts: Facts, domain: str) -> str:
    return _organisational(domain, _walk(facts, domain))


def _organisational(start: str, found: dict[str, Record]) -> str:
    """Return the organisational domain of `start`, given the records of its walk, longest name first (§4.10.2)."""
    for domain, record in found.items():
        if record.psd == "n":
            return domain
        if record.psd == "y" and domain != start:
            return ".".join(start.split(".")[-(domain.count(".") + 2) :])
    return next(reversed(found), start) if found else start


def _walk(facts: Facts, start: str) -> dict[str, Record]:
    """Return the records found on the way from a domain to the root; all questions behind the first go out at once."""
    names = list(_names(start))
    facts.want(map(_question, names[1:]))
    found: dict[str, Record] = {}
    for name in names:
        try:
            record = _record_at(facts, name)
        except _Ambiguous:
            continue
        if record is not None:
            found[name] = record
            if record.psd in ("n", "y"):
                break
    return found


def _names(start: str) -> Iterator[str]:
    """Yield where a walk looks: the start, and then its parents of seven labels and fewer (§4.10)."""
    yield start
    labels = start.split(".")
    for count in range(min(len(labels) - 1, MAX_LABELS_WALKED), 0, -1):
        yield ".".join(labels[-count:])


def _record_at(facts: Facts, domain: str) -> Record | None:
    answer = facts.lookup(_question(domain))
    if answer.temporary:
        raise _Trouble(f"DNS: {answer.question}: {answer.status.value}")
    records = [record for text in answer.texts if (record := parse(text)) is not None]
    if len(records) > 1:
        raise _Ambiguous(f"{len(records)} records at {domain}")
    return records[0] if records else None


def _exists(facts: Facts, domain: str) -> bool:
    """Return whether a domain exists (RFC 9989 §3.2.13): any answer but NXDOMAIN says so."""
    answer = facts.lookup(Question(domain, Kind.A))
    if answer.temporary:
        raise _Trouble(f"DNS: {answer.question}: {answer.status.value}")
    return answer.status is not Status.NO_NAME


def _question(domain: str) -> Question:
    return Question(f"_dmarc.{domain}", Kind.TXT)


def _policy(value: str | None) -> DmarcPolicy | None:
    try:
        return DmarcPolicy(value.lower()) if value is not None else None
    except ValueError:
        return None
