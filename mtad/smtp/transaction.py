"""What a client asks for: a transaction, and the commands it is made of (RFC 5321 §3.3).

An address is said only when it cannot say anything else as well: one with a line end in it would be a second command.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mtad.model.address import Address, path
from mtad.model.text import shown
from mtad.smtp.answers import Step

_CONTROLS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_DIVIDERS = re.compile(r"[\s<>]")


@dataclass(frozen=True, slots=True)
class Transaction:
    """One message for some recipients. `octets` is its size (RFC 1870 §4), `eight_bit` whether it has such octets."""

    reverse_path: Address | None
    recipients: tuple[Address, ...]
    octets: int
    eight_bit: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be answered; `n` counts the recipients, or the replies to the end of data."""

    step: Step
    octets: bytes
    n: int = 0


def sayable(address: Address | None) -> bool:
    """Return whether an address can be said in a command."""
    return address is None or not (_CONTROLS.search(str(address)) or _DIVIDERS.search(address.domain))


def commands(transaction: Transaction, extensions: Mapping[str, str]) -> Iterator[Command]:
    """Yield the commands, with the parameters a server of these extensions takes; ValueError for what is not sayable.

    Octets above 127 go as they are where the server does not offer BODY or SMTPUTF8: it may refuse them.
    """
    paths = [_said(address) for address in (transaction.reverse_path, *transaction.recipients)]
    parameters = b""
    if "SIZE" in extensions:
        parameters += b" SIZE=%d" % transaction.octets
    if transaction.eight_bit and "8BITMIME" in extensions:
        parameters += b" BODY=8BITMIME"
    if "SMTPUTF8" in extensions and not all(map(bytes.isascii, paths)):
        parameters += b" SMTPUTF8"
    yield Command(Step.MAIL, b"MAIL FROM:%s%s\r\n" % (paths[0], parameters))
    for n, recipient in enumerate(paths[1:]):
        yield Command(Step.RCPT, b"RCPT TO:%s\r\n" % recipient, n)
    yield Command(Step.DATA, b"DATA\r\n")


def _said(address: Address | None) -> bytes:
    if not sayable(address):
        raise ValueError(f"{shown(path(address))} cannot be said in SMTP")
    return path(address).encode("utf-8")
