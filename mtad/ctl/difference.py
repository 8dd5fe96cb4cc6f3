"""From what is and what is wanted to the changes between, in the order people read them.

Pure. Within an organisation of the file, what the file does not list goes; keys are retired instead. Organisations
it does not name are not looked at. Three things stay as they are when the file does not say them: whether a domain is
verified, its keys, and a mailbox' password. When nothing is different there is no change, so applying a file twice
changes nothing the second time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from mtad.adapters.postgres.tenants import Present, delivery_text
from mtad.ctl.keys import Pairs
from mtad.ctl.passwords import Stored
from mtad.ctl.tenancy import Domain, MailAddress, Mailbox, Organisation, Tenancy
from mtad.model.address import Address, folded
from mtad.model.dkim import KeyState, record_name
from mtad.model.holdings import Change, HeldAlias, HeldDomain, HeldKey, HeldMailbox, Holding, Item, Sign

Passwords = Mapping[str, Stored]
"""What is stored of each password in the file, by the address' key."""

# Their values are never shown, and where there is a new password its verifier goes without saying.
_PASSWORD, _SCRAM = "password", "scram verifier"
_UNSHOWN = (_PASSWORD, _SCRAM)


def wanted(tenancy: Tenancy, present: Present, passwords: Passwords, pairs: Pairs) -> list[Holding]:
    """Return what the file asks for, completed by what is where the file says nothing.

    `pairs` has a key for each selector of the file that has none yet.
    """
    return [
        _holding(organisation, present.holdings.get(organisation.name, Holding(organisation.name)), passwords, pairs)
        for organisation in tenancy.organisations
    ]


def difference(holdings: Sequence[Holding], present: Present) -> list[Change]:
    """Return the changes that make organisations hold `holdings` and nothing else."""
    return [change for holding in holdings for change in _of_organisation(holding, present)]


def describe(change: Change) -> str:
    """Return a change on one line: `+ mailbox alice@acme.example`."""
    item = change.item
    match item:
        case Holding():
            name = f"organisation {item.organisation}"
        case HeldDomain():
            name = f"domain {item.name}"
        case HeldMailbox():
            name = f"mailbox {Address(item.local_part, change.domain)}"
        case HeldAlias():
            name = f"alias {Address(item.local_part, change.domain)}"
        case HeldKey():
            name = f"dkim key {record_name(item.selector, change.domain)}"
    return f"{change.sign.value} {name}" + (f": {change.detail}" if change.detail else "")


def summary(changes: Sequence[Change]) -> str:
    """Return how much changes: `3 added, 1 changed, 0 removed`, or `no change`."""
    if not changes:
        return "no change"
    counts = {sign: sum(change.sign is sign for change in changes) for sign in Sign}
    return f"{counts[Sign.ADD]} added, {counts[Sign.CHANGE]} changed, {counts[Sign.REMOVE]} removed"


def _holding(organisation: Organisation, held: Holding, passwords: Passwords, pairs: Pairs) -> Holding:
    domains = {domain.name: domain for domain in held.domains}
    return Holding(
        organisation.name,
        organisation.contact,
        tuple(
            _domain(domain, domains.get(domain.name, HeldDomain(domain.name)), passwords, pairs, organisation.scram)
            for domain in organisation.domains
        ),
        organisation.scram,
    )


def _domain(domain: Domain, held: HeldDomain, passwords: Passwords, pairs: Pairs, scram: bool) -> HeldDomain:
    mailboxes = {folded(mailbox.local_part): mailbox for mailbox in held.mailboxes}
    return HeldDomain(
        domain.name,
        held.verified if domain.verified is None else domain.verified,
        _address(domain.catch_all),
        None if domain.delivery is None else domain.delivery.value,
        tuple(
            _mailbox(mailbox, domain.name, mailboxes.get(folded(mailbox.local_part)), passwords, scram)
            for mailbox in domain.mailboxes
        ),
        tuple(
            HeldAlias(alias.local_part, tuple(target.address for target in alias.targets)) for alias in domain.aliases
        ),
        _keys(domain, held, pairs),
        domain.policy.level,
        domain.policy.checks,
        domain.policy.check_from,
    )


def _keys(domain: Domain, held: HeldDomain, pairs: Pairs) -> tuple[HeldKey, ...]:
    """Return all keys the domain ever had: those that the file names sign, of the others none does any more.

    What `mtactl dkim` has begun and never signed is left to take its way.
    """
    if domain.dkim is None:
        return held.keys
    keys = {
        key.selector: replace(key, state=KeyState.RETIRING) if key.state is KeyState.ACTIVE else key
        for key in held.keys
    }
    for named in domain.dkim:
        if named.selector in keys:
            keys[named.selector] = replace(keys[named.selector], state=KeyState.ACTIVE)
        else:
            pair = pairs[domain.name, named.selector]
            keys[named.selector] = HeldKey(
                named.selector, pair.algorithm, pair.public_key, private_key=pair.private_key
            )
    return tuple(keys[selector] for selector in sorted(keys))


def _mailbox(mailbox: Mailbox, domain: str, held: HeldMailbox | None, passwords: Passwords, scram: bool) -> HeldMailbox:
    kept = Stored() if held is None else Stored(held.password_hash, held.scram)
    stored = passwords.get(Address(mailbox.local_part, domain).key, kept)
    return HeldMailbox(
        mailbox.local_part,
        stored.password_hash,
        mailbox.enabled,
        tuple(sorted(set(mailbox.send_as))),
        stored.scram if scram else None,
    )


def _address(address: MailAddress | None) -> Address | None:
    return None if address is None else address.address


def _of_organisation(holding: Holding, present: Present) -> Iterator[Change]:
    held = present.holdings.get(holding.organisation)
    yield from _own(holding.organisation, "", holding, held)
    wanted_domains = {domain.name for domain in holding.domains}
    held_domains = {domain.name: domain for domain in held.domains} if held else {}
    for name, domain in held_domains.items():
        if name not in wanted_domains:
            count = len(domain.mailboxes) + len(domain.aliases)
            detail = f"with {count} address{'' if count == 1 else 'es'}" if count else ""
            yield Change(Sign.REMOVE, holding.organisation, "", domain, detail)
    for domain in holding.domains:
        yield from _of_domain(holding.organisation, domain, held_domains.get(domain.name))


def _of_domain(organisation: str, domain: HeldDomain, held: HeldDomain | None) -> Iterator[Change]:
    yield from _own(organisation, "", domain, held)
    new, old = _by_name(domain), _by_name(held) if held else {}
    for key, item in old.items():
        if key not in new:
            yield Change(Sign.REMOVE, organisation, domain.name, item)
    for key, item in new.items():
        yield from _own(organisation, domain.name, item, old.get(key))


def _by_name(domain: HeldDomain) -> dict[tuple[str, str], Item]:
    """Return what a domain holds by kind and folded local part or selector: a mailbox never becomes an alias."""
    addresses: tuple[HeldMailbox | HeldAlias, ...] = (*domain.mailboxes, *domain.aliases)
    return {
        **{(type(key).__name__, key.selector): key for key in domain.keys},
        **{(type(item).__name__, folded(item.local_part)): item for item in addresses},
    }


def _own(organisation: str, domain: str, item: Item, held: Item | None) -> Iterator[Change]:
    """Return the change to what an item itself is, without what it holds; none when there is none."""
    facts = _facts(item)
    if held is None:
        blank = _facts(_blank(item))
        detail = ", ".join(_new(label, facts[label]) for label in _different(blank, facts))
        yield Change(Sign.ADD, organisation, domain, item, detail)
        return
    before = _facts(held)
    if facts != before:
        detail = ", ".join(_changed(label, before[label], facts[label]) for label in _different(before, facts))
        yield Change(Sign.CHANGE, organisation, domain, item, detail)


def _different(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    labels = [label for label, value in after.items() if value != before[label]]
    return [label for label in labels if label != _SCRAM or _PASSWORD not in labels]


def _facts(item: Item) -> dict[str, str]:
    """Return all that an operator sets of an item itself, as text; nothing is an empty text."""
    match item:
        case Holding():
            return {"contact": item.contact or "", "scram": "yes" if item.scram else "no"}
        case HeldDomain():
            return {
                "verified": "yes" if item.verified else "no",
                "catch_all": "" if item.catch_all is None else str(item.catch_all),
                "delivery": delivery_text(item.delivery) or "",
                "outbound_tls": "" if item.outbound_tls is None else item.outbound_tls.value,
                **{name: "" if wish is None else wish.value for name, wish in asdict(item.checks).items()},
                "check_from": "yes" if item.check_from else "no",
            }
        case HeldMailbox():
            enabled = "yes" if item.enabled else "no"
            return {
                "local_part": item.local_part,
                _PASSWORD: item.password_hash or "",
                _SCRAM: item.scram or "",
                "enabled": enabled,
                "send_as": " ".join(item.send_as),
            }
        case HeldAlias():
            return {"local_part": item.local_part, "targets": " ".join(map(str, item.targets))}
        case HeldKey():
            return {"algorithm": item.algorithm, "state": item.state.value}


def _blank(item: Item) -> Item:
    """Return an item of the same name with nothing set."""
    match item:
        case Holding():
            return Holding(item.organisation)
        case HeldDomain():
            return HeldDomain(item.name)
        case HeldMailbox():
            return HeldMailbox(item.local_part)
        case HeldAlias():
            return HeldAlias(item.local_part, ())
        case HeldKey():
            return HeldKey(item.selector, "", "")


def _new(label: str, after: str) -> str:
    return label if label in _UNSHOWN else f"{label} {after}"


def _changed(label: str, before: str, after: str) -> str:
    return label if label in _UNSHOWN else f"{label} {before or 'none'} -> {after or 'none'}"
