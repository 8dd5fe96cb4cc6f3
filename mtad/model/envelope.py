"""Who talks to us and what they asked for: built step by step, replaced never edited (RFC 5598 §4.1.4)."""

from dataclasses import dataclass

from mtad.model.address import Address


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection. `helo` is what it called itself, already fit to be shown.

    `authenticated` tells that it logged in.
    """

    host: str
    port: int
    helo: str | None = None
    esmtp: bool = False
    tls: str | None = None
    authenticated: bool = False


@dataclass(frozen=True, slots=True)
class Recipient:
    """One place a message goes to.

    `original` is the forward-path the peer gave, `address` where it leads (a mailbox here), `destination` the lane
    it waits in (`local:acme.example`); `n` counts from 0 within its message.
    """

    n: int
    original: Address
    address: Address
    destination: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """The transaction in progress. `size` is what MAIL declared, in octets; `body` the value of BODY=."""

    reverse_path: Address | None
    size: int | None = None
    body: str | None = None
    forward_paths: tuple[Address, ...] = ()
