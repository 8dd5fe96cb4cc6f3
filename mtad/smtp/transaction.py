"""What a client asks for: a transaction, and the commands it is made of (RFC 5321 §3.3).

An address is said only when it cannot say anything else as well: one with a line end in it would be a second command.
The same goes for what a sender once gave as a parameter; what is no such parameter is left out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mtad.model.address import Address, path
from mtad.model.envelope import PLAIN, Parameters, Recipient
from mtad.model.text import shown
from mtad.smtp.answers import Step
from mtad.smtp.notification import mail_parameters, recipient_parameters

# RFC 5321 §4.5.3.1.4: a command line has 512 octets without the parameters of extensions; the verb and its colon take
# up to 10, the line end 2.
MAX_PATH_OCTETS = 500

_CONTROLS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_DIVIDERS = re.compile(r"[\s<>]")


@dataclass(frozen=True, slots=True)
class Transaction:
    """One message for some recipients, with the parameters that MAIL asked for when it came.

    `octets` is its size (RFC 1870 §5), `eight_bit` whether it has octets above 127, and `eight_bit_head` whether its
    header has some.
    """

    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    octets: int
    eight_bit: bool = False
    eight_bit_head: bool = False
    parameters: Parameters = PLAIN

    @property
    def international(self) -> bool:
        """Whether the message as such needs SMTPUTF8, whoever gets it (RFC 6531 §3.4).

        It does for its sender's address, and for a header that its sender declared to be of RFC 6532. Octets above 127
        in the header of a message that was never declared so go as they came, and so they do in every body.
        """
        return not _is_ascii(self.reverse_path) or (self.parameters.smtputf8 and self.eight_bit_head)


@dataclass(frozen=True, slots=True)
class Command:
    """What is to be answered; `n` counts the recipients, or the replies to the end of data."""

    step: Step
    octets: bytes
    n: int = 0


def sayable(address: Address | None) -> bool:
    """Return whether an address can be said in a command, which it neither divides nor makes too long."""
    return _said(address) is not None


def is_international(recipient: Recipient) -> bool:
    """Return whether a recipient's address needs SMTPUTF8."""
    return not _is_ascii(recipient.address)


def commands(transaction: Transaction, extensions: Mapping[str, str]) -> Iterator[Command]:
    """Yield the commands, with the parameters a server of these extensions takes; ValueError for what is not sayable.

    Whether the server can take the message at all is `mtad.smtp.offers`' to say.
    """
    international = transaction.international or any(map(is_international, transaction.recipients))
    parameters = []
    if "SIZE" in extensions:
        parameters.append(f"SIZE={transaction.octets}")
    if transaction.eight_bit and "8BITMIME" in extensions:
        parameters.append("BODY=8BITMIME")
    if international and "SMTPUTF8" in extensions:
        parameters.append("SMTPUTF8")
    notifying = "DSN" in extensions
    if notifying:
        parameters += mail_parameters(transaction.reverse_path, transaction.parameters)
    yield _command(Step.MAIL, "MAIL FROM:", transaction.reverse_path, parameters)
    for n, recipient in enumerate(transaction.recipients):
        wishes = recipient_parameters(transaction.reverse_path, recipient) if notifying else ()
        yield _command(Step.RCPT, "RCPT TO:", recipient.address, wishes, n)
    yield Command(Step.DATA, b"DATA\r\n")


def _command(step: Step, verb: str, address: Address | None, parameters: Sequence[str], n: int = 0) -> Command:
    said = _said(address)
    if said is None:
        raise ValueError(f"{shown(path(address))} cannot be said in SMTP")
    return Command(step, f"{' '.join((verb + said, *parameters))}\r\n".encode(), n)


def _said(address: Address | None) -> str | None:
    """Return an address as the path of a command, None for one that is not sayable."""
    said = path(address)
    if address is not None and (_CONTROLS.search(said) or _DIVIDERS.search(address.domain)):
        return None
    return said if len(said.encode()) <= MAX_PATH_OCTETS else None


def _is_ascii(address: Address | None) -> bool:
    return address is None or (address.local_part.isascii() and address.domain.isascii())
