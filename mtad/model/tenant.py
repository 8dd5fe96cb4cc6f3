"""What the directory knows of organisations, their domains and addresses."""

from dataclasses import dataclass

from mtad.model.address import Address


@dataclass(frozen=True, slots=True)
class MaildirDelivery:
    """Deliver into Maildirs below `path` (None: the server's `delivery.local.path`)."""

    path: str | None = None


@dataclass(frozen=True, slots=True)
class LmtpDelivery:
    """Deliver by LMTP (RFC 2033) to `addr`: `host:port`, or the path of a unix socket."""

    addr: str


LocalDelivery = MaildirDelivery | LmtpDelivery


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain somebody claimed here. It is hosted only once `verified`; until then it is external to everyone.

    `claimed_at` is epoch seconds; `delivery` None means the server's default.
    """

    id: int
    organisation: int
    name: str
    verified: bool
    claimed_at: float
    catch_all: Address | None = None
    delivery: LocalDelivery | None = None


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox; `address` holds the stored local part, which names the Maildir."""

    id: int
    organisation: int
    address: Address
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Alias:
    """An address that stands for others; `targets` is never empty."""

    organisation: int
    address: Address
    targets: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """All the directory knows of one address: its domain (None: not claimed here) and who stands behind it.

    `behind` None with a domain means nobody has this address; the catch-all is the caller's to apply.
    """

    domain: Domain | None
    behind: Mailbox | Alias | None
