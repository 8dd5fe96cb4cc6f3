"""Where a forward-path leads: through catch-all and aliases to mailboxes here, and for submissions to the world.

Pure: `step` works on the directory entries known so far and says which it lacks; the flow looks them up and asks
again (`mtad.inbound.routing`). Every walk is bounded: an alias that leads back to itself, or through more than
MAX_DEPTH others, leads nowhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mtad.model.address import Address
from mtad.model.route import Place, Route
from mtad.model.tenant import Alias, Domain, Entry, Mailbox

MAX_DEPTH = 10
MAX_PLACES = 1000


@dataclass(frozen=True, slots=True)
class Needs:
    """The walk cannot go on without the directory entries of these addresses."""

    addresses: frozenset[Address]


@dataclass
class _Walk:
    """The state of one walk; lives only inside `step`."""

    known: Mapping[Address, Entry]
    organisation: int
    seen: set[str] = field(default_factory=set)
    places: list[Place] = field(default_factory=list)
    dead_ends: list[Address] = field(default_factory=list)
    missing: set[Address] = field(default_factory=set)
    disabled: bool = False


def local_destination(domain: Domain) -> str:
    """Return the lane of a hosted domain; how it is delivered is looked up when it is."""
    return f"local:{domain.name}"


def remote_destination(domain: str) -> str:
    """Return the lane of a domain elsewhere, an A-label or an address literal."""
    return f"mx:{domain}"


def submitted(route: Route, organisation: int) -> Route:
    """Return a route as that organisation's submission has it: what nobody verified here is elsewhere (DESIGN D12)."""
    if route.domain is not None and route.domain.verified:
        return route
    place = Place(route.forward_path, remote_destination(route.forward_path.domain))
    return replace(route, rule="remote", places=(place,), organisation=organisation)


def step(forward_path: Address, known: Mapping[Address, Entry]) -> Route | Needs:
    """Return the route, or the entries it still needs."""
    entry = known.get(forward_path)
    if entry is None:
        return Needs(frozenset((forward_path,)))
    domain = entry.domain
    if domain is None or not domain.verified:
        return Route(forward_path, domain, "none")
    if isinstance(entry.behind, Mailbox) and entry.behind.enabled:
        place = Place(entry.behind.address, local_destination(domain))
        return Route(forward_path, domain, "mailbox", (place,), domain.organisation)
    walk = _Walk(known, domain.organisation)
    _visit(walk, forward_path, MAX_DEPTH)
    if walk.missing:
        return Needs(frozenset(walk.missing))
    return Route(
        forward_path,
        domain,
        _rule(entry),
        tuple(walk.places),
        domain.organisation,
        walk.disabled and not walk.places,
        tuple(walk.dead_ends),
    )


def _rule(entry: Entry) -> str:
    match entry.behind:
        case Mailbox():
            return "mailbox"
        case Alias():
            return "alias"
        case None:
            return "catch-all" if entry.domain and entry.domain.catch_all else "none"


def _visit(walk: _Walk, address: Address, depth: int) -> None:
    """Walk from `address`; a target in another organisation's domain is a dead end, never followed."""
    if address.key in walk.seen or len(walk.places) >= MAX_PLACES:
        return
    walk.seen.add(address.key)
    entry = walk.known.get(address)
    if entry is None:
        walk.missing.add(address)
        return
    domain = entry.domain
    if domain is None or not domain.verified or domain.organisation != walk.organisation or depth < 0:
        walk.dead_ends.append(address)
        return
    match entry.behind:
        case Mailbox(enabled=True) as mailbox:
            walk.places.append(Place(mailbox.address, local_destination(domain)))
        case Mailbox():
            walk.disabled = True
        case Alias(targets=targets):
            for target in targets:
                _visit(walk, target, depth - 1)
        case None if domain.catch_all is not None:
            _visit(walk, domain.catch_all, depth - 1)
        case None:
            walk.dead_ends.append(address)
