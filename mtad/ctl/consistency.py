"""What the keys of an apply file must be to each other, before anything is compared with the database.

Pure. An organisation in the file is described whole, so nearly all can be judged from the file alone: names are
given once, an address is a mailbox or an alias but not both, and what an alias or a catch-all leads to exists and
ends somewhere (`mtad.routing.route` follows only so far). Only whose a domain is has to be asked.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from mtad.ctl.tenancy import Alias, Domain, MailAddress, Mailbox, Organisation, Tenancy
from mtad.model.address import Address
from mtad.model.errors import InvalidInput
from mtad.routing.route import MAX_DEPTH, MAX_PLACES

KeyPath = tuple[str | int, ...]
Complain = Callable[[KeyPath, str], InvalidInput]
"""Makes the error about what stands at a place of the file."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An address as the file lists it: where, and as what. `targets` are the keys an alias leads to."""

    at: KeyPath
    name: str
    kind: str
    targets: tuple[str, ...] = ()


def check(tenancy: Tenancy, complain: Complain) -> None:
    """Return when the file can be applied as far as it alone can tell; raise what `complain` makes otherwise."""
    organisations = [(("organisations", n), item) for n, item in enumerate(tenancy.organisations)]
    domains = [pair for at, organisation in organisations for pair in domains_of(at, organisation)]
    _once("organisation", [((*at, "name"), item.name) for at, item in organisations], complain)
    _once("domain", [((*at, "name"), item.name) for at, item in domains], complain)
    for at, domain in domains:
        keys = enumerate(domain.dkim or ())
        _once("selector", [((*at, "dkim", n, "selector"), key.selector) for n, key in keys], complain)
    for at, organisation in organisations:
        _check_addresses(at, organisation, complain)


def check_owners(tenancy: Tenancy, owners: Mapping[str, str], complain: Complain) -> None:
    """Return when no domain of the file belongs to another organisation; `owners` names those domains have now."""
    for n, organisation in enumerate(tenancy.organisations):
        for at, domain in domains_of(("organisations", n), organisation):
            owner = owners.get(domain.name, organisation.name)
            if owner != organisation.name:
                raise complain((*at, "name"), f"belongs to organisation {owner}, which has to give it up first")


def domains_of(at: KeyPath, organisation: Organisation) -> Iterator[tuple[KeyPath, Domain]]:
    """Return the domains of the organisation that stands at `at`, each with its place."""
    for number, domain in enumerate(organisation.domains):
        yield (*at, "domains", number), domain


def _once(what: str, named: Iterable[tuple[KeyPath, str]], complain: Complain) -> None:
    seen = set()
    for at, name in named:
        if name in seen:
            raise complain(at, f"expected each {what} once, got {name} again")
        seen.add(name)


def _check_addresses(at: KeyPath, organisation: Organisation, complain: Complain) -> None:
    known: dict[str, Listed] = {}
    for listed, key in _listed(at, organisation):
        if key in known:
            other = known[key]
            raise complain(listed.at, f"expected each address once, but {listed.name} is the {other.kind} {other.name}")
        known[key] = listed
    for place, address in _led_to(at, organisation):
        if address.address.key not in known:
            raise complain(
                place,
                "expected a mailbox or an alias of this organisation in this file"
                f" (forwarding elsewhere does not exist yet), got {address}",
            )
    depths: dict[str, int] = {}
    for key in known:
        _check_depth((key,), known, depths, complain)
        _check_places(key, known, complain)
    for place, domain in domains_of(at, organisation):
        if domain.catch_all and depths[domain.catch_all.address.key] >= MAX_DEPTH:
            raise complain((*place, "catch_all"), f"expected a way through fewer than {MAX_DEPTH} aliases")


def _listed(at: KeyPath, organisation: Organisation) -> Iterator[tuple[Listed, str]]:
    """Return every address of an organisation with its key."""
    for place, domain in domains_of(at, organisation):
        for n, mailbox in enumerate(domain.mailboxes):
            yield _entry((*place, "mailboxes", n), "mailbox", domain, mailbox, ())
        for n, alias in enumerate(domain.aliases):
            yield _entry((*place, "aliases", n), "alias", domain, alias, alias.targets)


def _entry(
    at: KeyPath, kind: str, domain: Domain, item: Mailbox | Alias, targets: tuple[MailAddress, ...]
) -> tuple[Listed, str]:
    address = Address(item.local_part, domain.name)
    return Listed(at, str(address), kind, tuple(target.address.key for target in targets)), address.key


def _led_to(at: KeyPath, organisation: Organisation) -> Iterator[tuple[KeyPath, MailAddress]]:
    """Return every address that a catch-all or an alias of an organisation leads to, with its place."""
    for place, domain in domains_of(at, organisation):
        if domain.catch_all is not None:
            yield (*place, "catch_all"), domain.catch_all
        for n, alias in enumerate(domain.aliases):
            for m, target in enumerate(alias.targets):
                yield (*place, "aliases", n, "targets", m), target


def _check_depth(way: tuple[str, ...], known: Mapping[str, Listed], depths: dict[str, int], complain: Complain) -> int:
    """Return through how many aliases the longest way from the end of `way` leads; `depths` has those found before."""
    key = way[-1]
    if key in depths:
        return depths[key]
    if key in way[:-1]:
        raise complain(known[key].at, f"leads back to itself: {' -> '.join(known[step].name for step in way)}")
    depth = 0
    if known[key].targets:
        if len(way) > MAX_DEPTH:
            raise complain(known[way[0]].at, f"expected a way through at most {MAX_DEPTH} aliases")
        depth = 1 + max(_check_depth((*way, target), known, depths, complain) for target in known[key].targets)
        if depth > MAX_DEPTH:
            raise complain(known[key].at, f"expected a way through at most {MAX_DEPTH} aliases")
    depths[key] = depth
    return depth


def _check_places(key: str, known: Mapping[str, Listed], complain: Complain) -> None:
    seen = {key}
    ahead = [key]
    mailboxes = 0
    while ahead:
        listed = known[ahead.pop()]
        mailboxes += not listed.targets
        new = [target for target in listed.targets if target not in seen]
        seen.update(new)
        ahead += new
    if mailboxes > MAX_PLACES:
        raise complain(known[key].at, f"expected at most {MAX_PLACES} mailboxes behind an alias, got {mailboxes}")
