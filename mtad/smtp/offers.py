"""What a server's hello says of the mail it can take, and of how much at once.

Lenient: a value that is not understood says nothing. What does not fit is known before MAIL, and fails there without a
word; the outcome is the server's alone (Scope.HOST), another host of the same domain may do better.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mtad.model.outcome import Failed, Scope
from mtad.smtp.transaction import Transaction, is_international

_DIGITS = 20
"""Of a SIZE (RFC 1870 §3), and more than any limit has."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What LIMITS says (RFC 9422): messages a connection, recipients and their domains a transaction; None: nothing."""

    messages: int | None = None
    recipients: int | None = None
    domains: int | None = None


NO_LIMITS = Limits()


def limits(extensions: Mapping[str, str]) -> Limits:
    """Return the limits a server announces; those that are unknown, or no number, are none."""
    said = extensions.get("LIMITS")
    if said is None:
        return NO_LIMITS
    values = {name.upper(): _number(value) for name, _, value in (word.partition("=") for word in said.split())}
    return Limits(values.get("MAILMAX"), values.get("RCPTMAX"), values.get("RCPTDOMAINMAX"))


def misfits(transaction: Transaction, extensions: Mapping[str, str]) -> list[Failed | None]:
    """Return for each recipient why a server of these extensions cannot take the message for it, None where it can."""
    whole = _too_large(transaction, extensions)
    if whole is None and transaction.international and "SMTPUTF8" not in extensions:
        whole = _not_offered("the message has addresses in its header or a sender that are not ASCII")
    if whole is not None:
        return [whole] * len(transaction.recipients)
    alone = None if "SMTPUTF8" in extensions else _not_offered("the address is not ASCII")
    return [alone if is_international(recipient) else None for recipient in transaction.recipients]


def _too_large(transaction: Transaction, extensions: Mapping[str, str]) -> Failed | None:
    # RFC 1870 §4: the server would refuse it with 552; 0 stands for no limit.
    limit = _number(extensions.get("SIZE", ""))
    if limit is None or transaction.octets <= limit:
        return None
    detail = f"the message has {transaction.octets} octets, the server takes {limit} at most"
    return Failed(detail, Scope.HOST, "5.3.4")


def _not_offered(why: str) -> Failed:
    # RFC 6531 §3.2: such a message must not be sent to such a server; RFC 3463 as amended by RFC 6531 §4 has the code.
    return Failed(f"{why}, and the server does not offer SMTPUTF8", Scope.HOST, "5.6.7")


def _number(text: str) -> int | None:
    """Return a number above 0."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
        return None
    return int(digits) or None
