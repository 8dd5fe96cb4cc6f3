"""XCLIENT: a proxy in front of us says whom it speaks for, as Postfix' XCLIENT_README has it (no RFC does).

    XCLIENT 1*( SP attribute-name "=" attribute-value )      the value as xtext (RFC 3461 §4)

Names and the words `[UNAVAILABLE]`, `[TEMPUNAVAIL]` and `IPV6:` are taken in any case. What cannot be known is an empty
value. Who may say it, and what follows from it, is not decided here.
"""

import re
from ipaddress import IPv4Address, IPv6Address

from mtad.model import replies
from mtad.model.reply import Reply

ATTRIBUTES = ("NAME", "ADDR", "PORT", "HELO", "LOGIN")
"""What is understood."""

# RFC 5321 §4.5.3.1.2, and what a login may be (mtad.smtp.sasl).
_VALUE_OCTETS = 320
_ATTRIBUTE = re.compile(rb"([A-Za-z]+)=((?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})+)")
_HEXCHAR = re.compile(rb"\+(..)")
_UNKNOWN = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")
_IPV6 = "IPV6:"


def parse(argument: bytes) -> dict[str, str] | Reply:
    """Return the attributes by name in upper case; a reply when one is malformed, unknown or given twice.

    ADDR is as `ipaddress` prints it, PORT a decimal number; the others are printable. Empty: it cannot be known.
    """
    found: dict[str, str] = {}
    for text in argument.split():
        match = _ATTRIBUTE.fullmatch(text)
        if match is None:
            return replies.BAD_ARGUMENTS
        name = match[1].decode("ascii").upper()
        value = _value(name, match[2])
        if value is None or name in found:
            return replies.BAD_ARGUMENTS
        found[name] = value
    return found or replies.BAD_ARGUMENTS


def _value(name: str, xtext: bytes) -> str | None:
    """Return an attribute's value, None for one that it cannot have."""
    try:
        text = _HEXCHAR.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), xtext).decode("utf-8")
    except UnicodeDecodeError:
        return None
    if name not in ATTRIBUTES or len(text) > _VALUE_OCTETS or not text.isprintable():
        return None
    if text.upper() in _UNKNOWN:
        return ""
    if name == "ADDR":
        return _address(text)
    if name == "PORT":
        return str(int(text)) if re.fullmatch("[0-9]{1,5}", text) and int(text) <= 65535 else None
    return text


def _address(text: str) -> str | None:
    if "%" in text:
        # A zone is known to the machine alone that has it.
        return None
    try:
        if text.upper().startswith(_IPV6):
            return str(IPv6Address(text[len(_IPV6) :]))
        return str(IPv4Address(text))
    except ValueError:
        return None
