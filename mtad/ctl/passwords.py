"""What is stored of the passwords in a file of apply: a hash, and a verifier for SCRAM where the organisation has it.

Both are of one password and made together. What a mailbox has already is kept when it is good and of that password, so
that applying a file twice changes nothing the second time. All of this takes long, by design of the hashes.
"""

from dataclasses import dataclass, field

from mtad.adapters.passwords import hash_password, is_current, scram_verifier, verify_password
from mtad.adapters.postgres.tenants import Present
from mtad.ctl.tenancy import Tenancy
from mtad.model.address import Address
from mtad.model.holdings import HeldMailbox
from mtad.smtp.scram import is_of


@dataclass(frozen=True, slots=True)
class Stored:
    """What a mailbox has of its password, as in HeldMailbox."""

    password_hash: str | None = field(default=None, repr=False)
    scram: str | None = field(default=None, repr=False)


def stored_passwords(tenancy: Tenancy, present: Present) -> dict[str, Stored]:
    """Return what to store of each password of the file, by the key of its mailbox' address."""
    held = {
        Address(mailbox.local_part, domain.name).key: mailbox
        for holding in present.holdings.values()
        for domain in holding.domains
        for mailbox in domain.mailboxes
    }
    stored = {}
    for organisation in tenancy.organisations:
        for domain in organisation.domains:
            for mailbox in domain.mailboxes:
                if mailbox.password is not None:
                    key = Address(mailbox.local_part, domain.name).key
                    stored[key] = _stored(held.get(key), mailbox.password.reveal(), organisation.scram)
    return stored


def _stored(held: HeldMailbox | None, password: str, scram: bool) -> Stored:
    if held is None or held.password_hash is None or not _is_good(held.password_hash, password):
        return Stored(hash_password(password), scram_verifier(password) if scram else None)
    if not scram:
        return Stored(held.password_hash)
    good = held.scram is not None and is_of(held.scram, password)
    return Stored(held.password_hash, held.scram if good else scram_verifier(password))


def _is_good(password_hash: str, password: str) -> bool:
    return is_current(password_hash) and verify_password(password_hash, password)
