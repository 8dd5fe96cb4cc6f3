"""What the directory knows of organisations, their domains and addresses."""

from dataclasses import dataclass, field

from mtad.model.address import Address
from mtad.model.authentication import AS_THE_SERVER, OwnChecks
from mtad.model.next_hop import TlsLevel

SYSTEM = "system"
"""The organisation of the server itself: its reports are its messages."""


@dataclass(frozen=True, slots=True)
class MaildirDelivery:
    """Deliver into Maildirs below `path` (None: the server's `delivery.local.path`)."""

    path: str | None = None


@dataclass(frozen=True, slots=True)
class LmtpDelivery:
    """Deliver by LMTP (RFC 2033) to `addr`: `host:port`, or the path of a unix socket."""

    addr: str


@dataclass(frozen=True, slots=True)
class SmtpDelivery:
    """Deliver by SMTP to `addr`: `host:port`, or the path of a unix socket."""

    addr: str


LocalDelivery = MaildirDelivery | LmtpDelivery | SmtpDelivery


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain somebody claimed here. It is hosted only once `verified`; until then it is external to everyone.

    `claimed_at` is epoch seconds; `delivery` None means the server's default. `outbound_tls` is what mail sent as it
    must have on its way elsewhere, ENCRYPT or VERIFY; None leaves it to the destination. `checks` are how strictly the
    identity of what it receives is checked; `check_from` tells that its people may only write as whom they may send as.
    """

    id: int
    organisation: int
    name: str
    verified: bool
    claimed_at: float
    catch_all: Address | None = None
    delivery: LocalDelivery | None = None
    outbound_tls: TlsLevel | None = None
    checks: OwnChecks = AS_THE_SERVER
    check_from: bool = True


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

    `behind` None with a domain means nobody has this address; the catch-all is the caller's to apply. `tls` is what the
    operator wants of the domain where it is elsewhere, None when nothing.
    """

    domain: Domain | None
    behind: Mailbox | Alias | None
    tls: TlsLevel | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """What a mailbox logs in with, and whom it may send as.

    `password_hash` is argon2's, None when nobody can log in. `scram` is the verifier of RFC 5803, None where there is
    none or the organisation switched SCRAM off. `send_as` are domains (`shop.example`) and patterns
    (`*@shop.example`) as an operator wrote them; `aliases` are the addresses of aliases that lead to it directly.
    """

    mailbox: Mailbox
    password_hash: str | None = field(default=None, repr=False)
    send_as: tuple[str, ...] = ()
    aliases: tuple[Address, ...] = ()
    scram: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who hands in a message: the mailbox of `credential`, or without one a machine of the organisation's network."""

    organisation: int
    credential: Credential | None = None

    def own_address(self, reverse_path: Address | None) -> Address | None:
        """Return who a message is from that does not say it: the reverse-path, else the mailbox; None: nobody."""
        if reverse_path is not None or self.credential is None:
            return reverse_path
        return self.credential.mailbox.address
