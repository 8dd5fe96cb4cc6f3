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
class Parameters:
    """What MAIL asked for that is handed on with the message.

    `smtputf8`: an address or the header needs RFC 6531. `ret` is FULL or HDRS, `envid` the sender's name for the
    envelope, as xtext (RFC 3461 §4.3, §4.4); None where MAIL said nothing.
    """

    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None


PLAIN = Parameters()
"""Nothing was asked for."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """One place a message goes to.

    `original` is the forward-path the peer gave, `address` where it leads (a mailbox here), `destination` the lane
    it waits in (`local:acme.example`); `n` counts from 0 within its message. `notify` is the value of NOTIFY= in upper
    case (`NEVER`, or `FAILURE,DELAY`), `orcpt` that of ORCPT= (`rfc822;bob@example.org`, xtext behind the semicolon;
    RFC 3461 §4.1, §4.2); None where RCPT said nothing. `expanded` marks the first of several that an alias led to whose
    sender asked to hear of success: it is told of the alias (RFC 3461 §5.2.7.3), and no longer of each.
    """

    n: int
    original: Address
    address: Address
    destination: str
    notify: str | None = None
    orcpt: str | None = None
    expanded: bool = False


@dataclass(frozen=True, slots=True)
class Envelope:
    """The transaction in progress. `size` is what MAIL declared, in octets; `body` the value of BODY=."""

    reverse_path: Address | None
    size: int | None = None
    body: str | None = None
    forward_paths: tuple[Address, ...] = ()
    parameters: Parameters = PLAIN
