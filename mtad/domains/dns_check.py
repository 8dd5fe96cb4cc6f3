"""What the DNS says of a hosted domain, against what is expected of it: one function a subject.

They are algorithms over what is known of the DNS (`mtad.verification.facts`): an answer that is not known ends the run,
and somebody else resolves it. Trouble of the DNS is a verdict of its own, never a failure of the domain.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mtad.model.address import Address
from mtad.model.answer import Answer, Kind, Question, Status
from mtad.model.authentication import Result
from mtad.model.dkim import Key, KeyState, record_name
from mtad.model.domain_check import Finding, HostedDomain, Seen, Subject, Verdict, challenge_name, challenge_text
from mtad.model.errors import MtadError
from mtad.model.text import shown
from mtad.verification import dmarc as dmarc_algorithm
from mtad.verification import spf as spf_algorithm
from mtad.verification.facts import Facts
from mtad.verification.keys import publishes

MAX_EXCHANGERS = 10
MAX_ADDRESSES = 10
_SHOWN_TEXTS = 3
_SHOWN_CHARACTERS = 120
_NEEDED = (KeyState.PUBLISHED, KeyState.ACTIVE, KeyState.RETIRING)


@dataclass(frozen=True, slots=True)
class Server:
    """What this server is to the rest of the world.

    `names` are those of its machines, `hostname` the one of this; `sources` the addresses its mail comes from, none:
    those the DNS has for `hostname`. With a `smarthost` its mail comes from elsewhere. `is_ours` tells this machine's
    addresses.
    """

    hostname: str
    names: frozenset[str]
    sources: tuple[str, ...] = ()
    smarthost: bool = False
    is_ours: Callable[[str], bool] = lambda address: False


@dataclass(frozen=True, slots=True)
class KeysSeen:
    """What the DNS says of the keys of a domain, by selector, and what that comes to."""

    finding: Finding
    seen: Mapping[str, Seen]


class _Trouble(MtadError):
    """The DNS does not say; the text is for people."""


def ownership(facts: Facts, domain: HostedDomain) -> Finding:
    """Return whether the record that proves the ownership is there; what is verified needs none."""
    if domain.verified:
        return Finding(Subject.OWNERSHIP, Verdict.GOOD, "verified", "verified")
    expected = challenge_text(domain.challenge)
    answer = facts.lookup(Question(challenge_name(domain.name), Kind.TXT))
    if answer.temporary:
        return _trouble(Subject.OWNERSHIP, expected, answer)
    there = expected.encode() in [text.strip() for text in answer.texts]
    return Finding(Subject.OWNERSHIP, Verdict.GOOD if there else Verdict.BAD, expected, _texts(answer))


def mx(facts: Facts, domain: HostedDomain, server: Server) -> Finding:
    """Return whether a mail exchanger of the domain is this server, by its name or by an address."""
    expected = f"an exchanger such as {server.hostname}"
    answer = facts.lookup(Question(domain.name, Kind.MX))
    if answer.temporary:
        return _trouble(Subject.MX, expected, answer)
    exchanges = sorted(answer.exchanges, key=lambda exchange: exchange.preference)[:MAX_EXCHANGERS]
    seen = ", ".join(f"{exchange.preference} {shown(exchange.host or '.')}" for exchange in exchanges)
    hosts = [exchange.host for exchange in exchanges if exchange.host]
    if not exchanges:
        # RFC 5321 §5.1: then the domain itself is the exchanger.
        seen, hosts = f"no MX ({answer.status.value})", [domain.name]
    try:
        here = not server.names.isdisjoint(hosts) or _leads_here(facts, hosts, server)
    except _Trouble as trouble:
        return Finding(Subject.MX, Verdict.TROUBLE, expected, f"{seen}; {trouble}")
    return Finding(Subject.MX, Verdict.GOOD if here else Verdict.BAD, expected, seen)


def spf(facts: Facts, domain: HostedDomain, server: Server, at: float) -> Finding:
    """Return whether SPF passes, at `at` (epoch seconds), for mail of the domain from this server's addresses."""
    if server.smarthost:
        return Finding(Subject.SPF, Verdict.NOTHING, "what the smarthost asks for", "mail leaves by a smarthost")
    try:
        addresses = (server.sources or _addresses(facts, [server.hostname]))[:MAX_ADDRESSES]
    except _Trouble as trouble:
        return Finding(Subject.SPF, Verdict.TROUBLE, f"pass for {server.hostname}", str(trouble))
    if not addresses:
        return Finding(Subject.SPF, Verdict.NOTHING, f"pass for {server.hostname}", "the DNS has no address for it")
    expected = f"pass for {', '.join(addresses)}"
    sender = Address("postmaster", domain.name)
    results = {
        address: spf_algorithm.check(
            facts, ip=address, helo=server.hostname, sender=sender, hostname=server.hostname, at=at
        )
        for address in addresses
    }
    seen = "; ".join(f"{address}: {result.result.value} ({result.reason})" for address, result in results.items())
    found = {result.result for result in results.values()}
    if found == {Result.PASS}:
        return Finding(Subject.SPF, Verdict.GOOD, expected, seen)
    return Finding(Subject.SPF, Verdict.TROUBLE if Result.TEMPERROR in found else Verdict.BAD, expected, seen)


def dkim(facts: Facts, domain: HostedDomain) -> KeysSeen:
    """Return of which keys the records are there; those that have signed, or will, are expected."""
    keys = [key for key in domain.keys if key.state is not KeyState.REVOKED]
    questions = {key.selector: Question(record_name(key.selector, domain.name), Kind.TXT) for key in keys}
    facts.want(questions.values())
    answers = {selector: facts.lookup(question) for selector, question in questions.items()}
    seen = {key.selector: _seen(key, answers[key.selector]) for key in keys}
    return KeysSeen(_of_keys(keys, seen, answers), seen)


def dmarc(facts: Facts, domain: HostedDomain) -> Finding:
    """Return whether a DMARC record that can be read applies to the domain, its own or of a domain above."""
    expected = f"a record at _dmarc.{domain.name}"
    found = dmarc_algorithm.evaluate(facts, (domain.name,), dmarc_algorithm.Identifiers())
    if found.result is Result.TEMPERROR:
        return Finding(Subject.DMARC, Verdict.TROUBLE, expected, shown(found.reason))
    if found.policy is None:
        return Finding(Subject.DMARC, Verdict.BAD, expected, shown(found.reason))
    return Finding(Subject.DMARC, Verdict.GOOD, expected, f"p={found.policy.value} by _dmarc.{found.record_domain}")


def _leads_here(facts: Facts, hosts: list[str], server: Server) -> bool:
    """Return whether one of the hosts has an address of ours; _Trouble when only trouble kept it from being seen."""
    ours = set(server.sources)
    troubles = []
    for names, mine in (([server.hostname], True), (hosts, False)):
        try:
            addresses = _addresses(facts, names)
        except _Trouble as trouble:
            troubles.append(trouble)
            continue
        if mine:
            ours.update(addresses)
        elif any(address in ours or server.is_ours(address) for address in addresses):
            return True
    if troubles:
        raise troubles[0]
    return False


def _addresses(facts: Facts, hosts: Iterable[str]) -> tuple[str, ...]:
    questions = [Question(host, kind) for host in hosts for kind in (Kind.A, Kind.AAAA)]
    facts.want(questions)
    answers = [facts.lookup(question) for question in questions]
    found = tuple(dict.fromkeys(name for answer in answers for name in answer.names))
    trouble = next((answer for answer in answers if answer.temporary), None)
    if trouble is not None and not found:
        raise _Trouble(f"{trouble.question}: {trouble.status.value}")
    return found


def _seen(key: Key, answer: Answer) -> Seen:
    if answer.temporary:
        return Seen.TROUBLE
    # Of several records nobody can tell which one is asked (RFC 6376 §3.6.2.2).
    right = len(answer.texts) == 1 and publishes(answer.texts[0], key.algorithm, key.public_key)
    return Seen.YES if right else Seen.NO


def _of_keys(keys: list[Key], seen: Mapping[str, Seen], answers: Mapping[str, Answer]) -> Finding:
    needed = [key.selector for key in keys if key.state in _NEEDED]
    if not needed:
        waiting = ", ".join(key.selector for key in keys)
        text = f"the record of {waiting} is awaited" if waiting else "the domain has no key"
        return Finding(Subject.DKIM, Verdict.NOTHING, "nothing signs", text)
    expected = f"the records of {', '.join(needed)}"
    for verdict, kind in ((Verdict.BAD, Seen.NO), (Verdict.TROUBLE, Seen.TROUBLE)):
        wrong = [selector for selector in needed if seen[selector] is kind]
        if wrong:
            told = "; ".join(f"{selector}: {_texts(answers[selector])}" for selector in wrong)
            return Finding(Subject.DKIM, verdict, expected, told)
    return Finding(Subject.DKIM, Verdict.GOOD, expected, "all are there")


def _trouble(subject: Subject, expected: str, answer: Answer) -> Finding:
    return Finding(subject, Verdict.TROUBLE, expected, f"{answer.question}: {answer.status.value}")


def _texts(answer: Answer) -> str:
    """Return what TXT records say, as much as people look at."""
    if answer.status is not Status.FOUND:
        return f"no record ({answer.status.value})"
    return ", ".join(shown(text, _SHOWN_CHARACTERS) for text in answer.texts[:_SHOWN_TEXTS])
