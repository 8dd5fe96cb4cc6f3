"""What organisations hold, as an operator describes it, and the changes that lead there.

`mtad.model.tenant` has what the journey of a message needs of the same things; these values carry what an operator
sets and no ids. Addresses compare by their folded local part (DESIGN §5).
"""

from dataclasses import dataclass, field
from enum import Enum

from mtad.model.address import Address
from mtad.model.authentication import AS_THE_SERVER, OwnChecks
from mtad.model.dkim import KeyState
from mtad.model.next_hop import TlsLevel
from mtad.model.tenant import LocalDelivery


@dataclass(frozen=True, slots=True)
class HeldMailbox:
    """A mailbox; `local_part` as the operator wrote it. Without `password_hash` (argon2) nobody can log in.

    `send_as` are domains and address patterns it may send as, in lower case, each once, in their alphabet's order.
    `scram` is the same password's verifier (RFC 5803), without which nobody logs in by SCRAM.
    """

    local_part: str
    password_hash: str | None = None
    enabled: bool = True
    send_as: tuple[str, ...] = ()
    scram: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HeldAlias:
    """An address that stands for others; `targets` is never empty."""

    local_part: str
    targets: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key of a domain. One that an operator adds signs at once; what else may become of it, `state` tells.

    `algorithm` and `private_key` as in `mtad.model.dkim.SigningKey`; `public_key` is the p= of its record. The private
    half is only there where the key is new: what has been stored is not read back. `seen` tells that its record was
    seen before it signed, as is the way of keys that `mtactl dkim` makes.
    """

    selector: str
    algorithm: str
    public_key: str
    state: KeyState = KeyState.ACTIVE
    private_key: bytes | None = field(default=None, repr=False, compare=False)
    seen: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class HeldDomain:
    """A domain, its name as A-label, with its addresses and, by selector, its keys.

    `delivery` None means the server's default; `outbound_tls`, `checks` and `check_from` are as in
    `mtad.model.tenant.Domain`.
    """

    name: str
    verified: bool = False
    catch_all: Address | None = None
    delivery: LocalDelivery | None = None
    mailboxes: tuple[HeldMailbox, ...] = ()
    aliases: tuple[HeldAlias, ...] = ()
    keys: tuple[HeldKey, ...] = ()
    outbound_tls: TlsLevel | None = None
    checks: OwnChecks = AS_THE_SERVER
    check_from: bool = True


@dataclass(frozen=True, slots=True)
class Holding:
    """An organisation and all it holds; `scram` says whether its mailboxes may log in by SCRAM."""

    organisation: str
    contact: str | None = None
    domains: tuple[HeldDomain, ...] = ()
    scram: bool = True


class Sign(Enum):
    """What becomes of an item."""

    ADD = "+"
    CHANGE = "~"
    REMOVE = "-"


Item = Holding | HeldDomain | HeldMailbox | HeldAlias | HeldKey


@dataclass(frozen=True, slots=True)
class Change:
    """One item to add, to change into what `item` says, or to remove with all it holds.

    It concerns the item's own attributes; what it holds has changes of its own, except when it goes. `domain` is
    where a mailbox, an alias or a key is, empty for the others; `detail` says what is different, for people.
    """

    sign: Sign
    organisation: str
    domain: str
    item: Item
    detail: str = ""
