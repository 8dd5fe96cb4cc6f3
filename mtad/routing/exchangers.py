"""The hosts that take mail for a domain elsewhere, in the order to try (RFC 5321 §5.1).

    MX found                     its hosts by preference, equal ones shuffled, each with its addresses
    MX NODATA                    the domain itself is the host, preference 0
    null MX                      final 5.1.10 (RFC 7505 §3)
    NXDOMAIN                     final 5.1.2
    no host has an address       final 5.4.4
    we are among the best        final 5.4.6: what we would send to ourselves, or to those who send it to us, loops
    trouble, and no host found   temporary 4.4.3: a resolver's fault is never a permanent failure (DESIGN D11)
    trouble, and some found      those, with the trouble beside them for when none of them may be dialled

Pure: `step` works on the answers known so far and says which it lacks. All that comes from the DNS is bounded. It
does not judge where an address may be: the guard of private addresses looks at each dial.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import chain, zip_longest

from mtad.model.answer import Answer, Kind, MailExchange, Question, Status
from mtad.model.exchangers import Host, Hosts, NoRoute, OwnNames
from mtad.model.outcome import Deferred, Failed, Scope
from mtad.model.text import shown

MAX_HOSTS = 10
MAX_ADDRESSES = 20
MAX_ADDRESSES_OF_A_HOST = 8
_FAMILIES = (Kind.AAAA, Kind.A)

# A host name of RFC 1123 §2.1, with the underscores some put into theirs. The last label has a letter, which leaves out
# addresses: RFC 5321 §5.1 wants names.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*(?=[^.]*[a-z])(?:{_LABEL})")

Chance = Callable[[], float]
"""Returns a number of [0, 1), another one each time: `Random.random`."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The hosts cannot be told without the answers to these questions."""

    questions: frozenset[Question]


def step(domain: str, known: Mapping[Question, Answer], own: OwnNames, chance: Chance) -> Hosts | NoRoute | Needs:
    """Return the hosts of `domain` (an A-label in lower case, or an address literal), or what is still needed.

    `known` holds an answer for every question that was asked. The set of questions does not depend on `chance`.
    """
    if domain.startswith("["):
        return _literal(domain, own)
    asked = Question(domain, Kind.MX)
    answer = known.get(asked)
    if answer is None:
        return Needs(frozenset((asked,)))
    if answer.temporary:
        return NoRoute(_trouble((answer,)))
    if answer.status is Status.NO_NAME:
        return _never("5.1.2", f"the domain {shown(domain)} does not exist")
    if [exchange.host for exchange in answer.exchanges] == [""]:
        return _never("5.1.10", f"the domain {shown(domain)} accepts no mail (null MX)")
    if answer.status is Status.NO_DATA:
        return _resolved(domain, (MailExchange(0, domain),), known, own, chance)
    named = {exchange for exchange in answer.exchanges if _HOST_NAME.fullmatch(exchange.host)}
    return _resolved(domain, named, known, own, chance)


def _literal(domain: str, own: OwnNames) -> Hosts | NoRoute:
    """Return the host an address literal names (RFC 5321 §4.1.3), or why it cannot be."""
    inner = domain[1:-1]
    try:
        address = str(IPv6Address(inner[5:]) if inner[:5].lower() == "ipv6:" else IPv4Address(inner))
    except ValueError:
        return _never("5.1.2", f"{shown(domain)} is no address")
    if address in own.addresses:
        return _loop(domain)
    return Hosts((Host(domain, (address,)),))


def _resolved(
    domain: str,
    exchanges: Iterable[MailExchange],
    known: Mapping[Question, Answer],
    own: OwnNames,
    chance: Chance,
) -> Hosts | NoRoute | Needs:
    """Return the hosts among `exchanges` that have addresses and are not, or behind, this server."""
    ranked = sorted(exchanges, key=lambda exchange: (exchange.preference, exchange.host))
    foreign = _before_us(ranked, lambda exchange: exchange.host in own.names)[:MAX_HOSTS]
    questions = [Question(exchange.host, kind) for exchange in foreign for kind in _FAMILIES]
    missing = frozenset(question for question in questions if question not in known)
    if missing:
        return Needs(missing)
    addresses = {exchange.host: _addresses(exchange.host, known) for exchange in foreign}
    left = _before_us(foreign, lambda exchange: not own.addresses.isdisjoint(addresses[exchange.host]))
    if ranked and not left:
        return _loop(domain)
    hosts = _bounded((exchange.host, addresses[exchange.host]) for exchange in _shuffled(left, chance))
    troubles = [known[question] for question in questions if known[question].temporary]
    trouble = _trouble(troubles) if troubles else None
    if hosts:
        return Hosts(hosts, trouble)
    if trouble is not None:
        return NoRoute(trouble)
    return _never("5.4.4", f"no mail host of {shown(domain)} has an address")


def _before_us(ranked: list[MailExchange], is_us: Callable[[MailExchange], bool]) -> list[MailExchange]:
    """Return the exchanges preferred to the best that is this server; all when none is (RFC 5321 §5.1)."""
    best = min((exchange.preference for exchange in ranked if is_us(exchange)), default=None)
    return ranked if best is None else [exchange for exchange in ranked if exchange.preference < best]


def _addresses(host: str, known: Mapping[Question, Answer]) -> tuple[str, ...]:
    """Return a host's addresses, the families in turns: a second attempt may then go another way."""
    families = [known[Question(host, kind)].names for kind in _FAMILIES]
    return tuple(address for address in chain.from_iterable(zip_longest(*families)) if address is not None)


def _shuffled(exchanges: list[MailExchange], chance: Chance) -> list[MailExchange]:
    """Return the exchanges by preference, equal ones in any order."""
    drawn = [(exchange.preference, chance(), exchange) for exchange in exchanges]
    return [exchange for _, _, exchange in sorted(drawn, key=lambda draw: draw[:2])]


def _bounded(named: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[Host, ...]:
    """Return the hosts that have addresses nobody before them has, within the bounds."""
    seen: set[str] = set()
    hosts = []
    for name, addresses in named:
        new = [address for address in dict.fromkeys(addresses) if address not in seen]
        room = min(MAX_ADDRESSES_OF_A_HOST, MAX_ADDRESSES - len(seen))
        if new[:room]:
            hosts.append(Host(name, tuple(new[:room])))
            seen.update(new[:room])
    return tuple(hosts)


def _trouble(answers: Iterable[Answer]) -> Deferred:
    """Return the outcome of answers that say nothing about their names; the first one speaks for all."""
    first = next(iter(answers))
    detail = f" ({first.detail})" if first.detail else ""
    told = f"DNS: {first.question}: {first.status.value}"
    return Deferred(shown(told + detail), Scope.DESTINATION, "4.4.3", told=shown(told))


def _loop(domain: str) -> NoRoute:
    return _never("5.4.6", f"mail for {shown(domain)} leads back to this server")


def _never(status: str, detail: str) -> NoRoute:
    return NoRoute(Failed(detail, Scope.DESTINATION, status))
