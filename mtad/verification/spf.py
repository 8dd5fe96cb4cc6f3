"""SPF of one identity, by pyspf over what is known of the DNS (RFC 7208, DESIGN D10).

pyspf evaluates records and counts the lookups; here it is given the answers, the time, and bounds on what it has to
read and compare: a peer chooses its records, and one evaluation is one turn. It never waits: an answer that is not
known ends the run (`mtad.verification.facts`).
"""

from typing import Any

import spf

from mtad.model.address import Address
from mtad.model.answer import Answer, Kind, Question
from mtad.model.authentication import Result, Spf
from mtad.model.text import shown
from mtad.verification.facts import Facts, NotYetKnown

MAX_RECORD_OCTETS = 10_000
"""A longer record is taken for a mistake: RFC 7208 §3.4 wants them to fit into 450 octets."""

MAX_RECORDS_OCTETS = 12 * 1024
"""So much of records is read in one evaluation: as many as may be included, and some longer than they should be."""

MAX_ADDRESSES = 1500
"""So often the peer's address is compared with another one in one evaluation."""

MAX_MACRO_STRING_OCTETS = 500
"""A longer one is none that leads to the name of a domain, or to an explanation fit to be read."""

_NAME_OCTETS = 253
_NAMES_LOOKED_UP = 10
_EXPLANATION_CHARACTERS = 500


def check(facts: Facts, *, ip: str, helo: str, sender: Address | None, hostname: str, at: float) -> Spf:
    """Return what the domain of `sender`, or without one that of `helo`, says of a peer at `ip`; NotYetKnown.

    `helo` is what the peer called itself, `hostname` who asks, `at` epoch seconds.
    """
    identity, domain = ("helo", helo.lower()) if sender is None else ("mailfrom", sender.domain)
    if not _is_checked(domain):
        return Spf(Result.NONE, identity, shown(domain), "not a domain name that could have a record")
    query = _Query(facts, ip=ip, helo=helo, sender=sender, hostname=hostname, at=at)
    try:
        result, _, explanation = query.check()
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError) as surprise:
        # pyspf meets records nobody thought of; that is the record's fault, for it is what it was given.
        return Spf(Result.PERMERROR, identity, domain, shown(f"the record cannot be evaluated: {surprise!r}"))
    if facts.missing:
        raise NotYetKnown("the result rests on answers that are not known yet")
    return Spf(
        Result(result),
        identity,
        domain,
        reason=_reason(query, result),
        explanation=shown(explanation, _EXPLANATION_CHARACTERS) if result == "fail" else "",
    )


def _is_checked(domain: str) -> bool:
    """Return whether a domain is looked up at all (RFC 7208 §4.3): a name of several labels, no address."""
    labels = domain.removesuffix(".").split(".")
    return len(domain) <= 255 and len(labels) > 1 and not domain.startswith("[") and domain.isascii() and all(labels)


def _reason(query: "_Query", result: str) -> str:
    if result in ("permerror", "temperror"):
        return shown(f"{query.prob}{''.join(f': {each}' for each in query.mech)}")
    if result == "none":
        return "no SPF record"
    return shown(f"matched {query.mechanism}") if query.mechanism else "nothing in the record matched"


class _Query(spf.query):  # type: ignore[misc]  # pyspf has no types
    """A query of pyspf that asks `facts`."""

    def __init__(self, facts: Facts, *, ip: str, helo: str, sender: Address | None, hostname: str, at: float) -> None:
        super().__init__(i=ip, s="" if sender is None else sender.plain, h=helo, receiver=hostname, strict=True)
        if sender is not None:
            # A local part may have at signs; pyspf divides at the first one.
            self.l, self.o = sender.local_part or "postmaster", sender.domain
            self.d = self.o
        self._facts = facts
        self._octets_read = 0
        self._compared_count = 0
        self.t = str(int(at))
        # What the owner does not explain is explained nowhere.
        self.set_default_explanation("")

    def dns(self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False) -> list[Any]:
        """Return the records of a name in pyspf's forms; the resolver has followed the CNAMEs."""
        question = Question(str(name).removesuffix(".").lower(), Kind(qtype))
        answer = self._facts.lookup(question)
        if answer.temporary:
            raise spf.TempError(f"DNS: {question}: {answer.status.value}")
        found = _records(answer)
        if not found and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError(f"Void lookup limit of {spf.MAX_VOID_LOOKUPS} exceeded")
        return found

    def dns_spf(self, domain: str) -> str | None:
        """Return the one SPF record of a domain, None without any; an overlong one is an error, and so are too many."""
        record: str | None = super().dns_spf(domain)
        if record is None:
            return None
        if len(record) > MAX_RECORD_OCTETS:
            raise spf.PermError(f"the record has more than {MAX_RECORD_OCTETS} octets")
        self._octets_read += len(record)
        if self._octets_read > MAX_RECORDS_OCTETS:
            raise spf.PermError(f"the records have more than {MAX_RECORDS_OCTETS} octets together")
        return _with_plain_modifiers(record)

    def expand(self, s: str, stripdot: bool = True) -> str:
        """Return a macro-string expanded; a name that is too long loses labels on the left (RFC 7208 §7.3)."""
        if len(s) > MAX_MACRO_STRING_OCTETS:
            raise spf.PermError(f"a macro-string has more than {MAX_MACRO_STRING_OCTETS} octets")
        expanded: str = super().expand(s, stripdot)
        while stripdot and len(expanded) > _NAME_OCTETS and "." in expanded:
            expanded = expanded.partition(".")[2]
        return expanded

    def cidrmatch(self, ipaddrs: list[str], n: int) -> bool:
        """Return whether the peer's address is in a network with one of these; too many in all are an error."""
        self._compared_count += len(ipaddrs)
        if self._compared_count > MAX_ADDRESSES:
            raise spf.PermError(f"more than {MAX_ADDRESSES} addresses to compare with")
        return bool(super().cidrmatch(ipaddrs, n))

    def dns_mx(self, domainname: str) -> list[str]:
        """Return the addresses of a domain's mail exchangers, all of them asked for at once."""
        hosts = [host for _, host in sorted(self.dns(domainname, "MX"))]
        if len(hosts) > spf.MAX_MX:
            raise spf.PermError(f"More than {spf.MAX_MX} MX records returned")
        self._want_addresses(hosts)
        return [address for host in hosts for address in self.dns_a(host, self.A)]

    def validated_ptrs(self) -> list[str]:
        """Return the peer's names that have its address; names in trouble are none (RFC 7208 §5.5)."""
        try:
            names = self.dns_ptr(self.i)[:_NAMES_LOOKED_UP]
        except spf.TempError:
            return []
        self._want_addresses(names)
        return [name for name in names if self._has_address(name)]

    def _has_address(self, name: str) -> bool:
        try:
            return bool(self.cidrmatch(self.dns_a(name, self.A), self.cidrmax))
        except spf.TempError:
            return False

    def _want_addresses(self, hosts: list[str]) -> None:
        self._facts.want(Question(host.removesuffix(".").lower(), Kind(self.A)) for host in hosts[:_NAMES_LOOKED_UP])


def _with_plain_modifiers(record: str) -> str:
    """Return a record with the names of its modifiers in lower case, and none that is unknown there twice.

    pyspf would take a `Redirect=` for unknown, and an unknown one that is repeated for an error (RFC 7208 §6).
    """
    terms: list[str] = []
    names: set[str] = set()
    for term in record.split(" "):
        match = spf.RE_MODIFIER.match(term)
        if match is None:
            terms.append(term)
            continue
        name = match[1].lower()
        if name in names and name not in ("redirect", "exp"):
            name = f"{name}.{len(terms)}"
        names.add(name)
        terms.append(f"{name}={term[match.end() :]}")
    return " ".join(terms)


def _records(answer: Answer) -> list[Any]:
    match answer.question.kind:
        case Kind.TXT:
            return [[text] for text in answer.texts]
        case Kind.MX:
            return [(exchange.preference, exchange.host) for exchange in answer.exchanges]
        case _:
            return list(answer.names)
