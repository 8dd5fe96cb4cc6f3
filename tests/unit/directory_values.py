"""Values of a small directory, for tests of what is decided on them."""

from mtad.model.address import Address
from mtad.model.tenant import Alias, Domain, Entry, Mailbox

ACME = Domain(1, 10, "acme.example", verified=True, claimed_at=0.0)
SHOP = Domain(2, 10, "shop.example", verified=True, claimed_at=0.0, catch_all=Address("alice", "acme.example"))
OTHER = Domain(3, 20, "other.example", verified=True, claimed_at=0.0)
PENDING = Domain(4, 30, "pending.example", verified=False, claimed_at=1000.0)


def at(text: str) -> Address:
    local_part, _, domain = text.rpartition("@")
    return Address(local_part, domain)


def mailbox(text: str, domain: Domain = ACME, *, enabled: bool = True) -> Entry:
    return Entry(domain, Mailbox(1, domain.organisation, at(text), enabled))


def alias(text: str, *targets: str, domain: Domain = ACME) -> Entry:
    return Entry(domain, Alias(domain.organisation, at(text), tuple(at(target) for target in targets)))


def nobody(domain: Domain | None = ACME) -> Entry:
    return Entry(domain, None)
