"""The trace fields mtad puts on top of a message: Received, Return-Path, Delivered-To (RFC 5321 §4.4).

What the peer called itself is its own word: only letters, digits and `._-:[]` of it get in, so it can neither end the
field nor open or close the comment in which its address is ours. Lines are far below 998 octets (RFC 5322 §2.1.1).
"""

import re
from datetime import UTC, datetime
from email.utils import format_datetime

from mtad.model.address import Address, path
from mtad.model.envelope import Peer

_NAME_CHARACTERS = 255
_UNSAFE = re.compile(r"[^A-Za-z0-9._:\[\]-]")


def received(
    *, peer: Peer, hostname: str, printed_id: str, for_: Address | None, now: float, international: bool = False
) -> bytes:
    """Return the Received field of a message taken from `peer` at `now` (epoch seconds).

    `for_` is the forward-path of a message with a single recipient, else None: recipients are not told of each other
    (RFC 5321 §7.2). One beyond ASCII is not named either: the message would need SMTPUTF8 for it, wherever an alias
    leads. `international` tells that MAIL said SMTPUTF8.
    """
    literal = _literal(peer.host)
    name = _safe(peer.helo) if peer.helo else literal
    secured = f" ({_safe(peer.tls)})" if peer.tls else ""
    recipient = f"\r\n\tfor {path(for_)}" if for_ and str(for_).isascii() else ""
    field = (
        f"Received: from {name} ({literal})\r\n"
        f"\tby {hostname} with {_protocol(peer, international)}{secured} id {printed_id}{recipient};\r\n"
        f"\t{format_datetime(datetime.fromtimestamp(now, UTC))}\r\n"
    )
    return field.encode("utf-8")


def return_path(reverse_path: Address | None) -> bytes:
    """Return the Return-Path field that final delivery adds."""
    return f"Return-Path: {path(reverse_path)}\r\n".encode()


def delivered_to(address: Address) -> bytes:
    """Return the field that says into which mailbox a copy went; a loop through a mailbox shows by it (RFC 9228)."""
    return f"Delivered-To: {address}\r\n".encode()


def _protocol(peer: Peer, international: bool) -> str:
    """Return the protocol word; without EHLO nothing was extended (RFC 3848, RFC 6531 §3.7.3)."""
    if not peer.esmtp:
        return "SMTP"
    word = "UTF8SMTP" if international else "ESMTP"
    return f"{word}{'S' if peer.tls else ''}{'A' if peer.authenticated else ''}"


def _literal(host: str) -> str:
    """Return the peer's address as RFC 5321 §4.1.3 writes it; a peer that has none is named as it is."""
    safe = _safe(host.partition("%")[0])
    if ":" in safe:
        return f"[IPv6:{safe}]"
    return f"[{safe}]" if safe.replace(".", "").isdigit() else safe


def _safe(text: str) -> str:
    return _UNSAFE.sub("?", text[:_NAME_CHARACTERS])
