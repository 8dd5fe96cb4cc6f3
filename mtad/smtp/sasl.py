"""The server's side of AUTH without I/O: the mechanisms PLAIN (RFC 4616) and LOGIN, over the lines of RFC 4954 §4.

A step of an exchange is a `Challenge`, which owes the peer a 334 and takes its next line, an `Authenticate`, which says
who the peer claims to be, or the reply that ends the exchange because what came is no answer. Base64 is taken only as
RFC 4648 §4 writes it; identities and passwords are bounded. Whether a claim is true is not decided here.
"""

import binascii
from collections.abc import Callable
from dataclasses import dataclass, field

from mtad.model import replies
from mtad.model.reply import Reply

LINE_OCTETS = 12_288
"""The longest line of an exchange, CRLF included (RFC 4954 §4)."""

# RFC 4616 §2 asks for 255 octets of each at least; an address has up to 320.
IDENTITY_OCTETS = 320
PASSWORD_OCTETS = 1024


@dataclass(frozen=True, slots=True)
class Login:
    """How peers of a session may log in: `required` before MAIL, `needs_tls` before AUTH."""

    required: bool = True
    needs_tls: bool = True


@dataclass(frozen=True, slots=True)
class Authenticate:
    """The peer claims to be `authcid`, by that password, and to act for `authzid` (empty: for itself).

    `mechanism` is PLAIN or LOGIN.
    """

    mechanism: str
    authcid: str
    password: bytes = field(repr=False)
    authzid: str = ""


@dataclass(frozen=True, slots=True)
class Challenge:
    """The peer is to be asked with `reply`; `answered` takes the line it answers with."""

    reply: Reply
    answered: "Callable[[bytes], Step]"


Step = Challenge | Authenticate | Reply


def begin(argument: bytes) -> Step:
    """Return the first step of AUTH with this argument: a mechanism, and perhaps an initial response."""
    mechanism, _, initial = argument.partition(b" ")
    challenge = _MECHANISMS.get(mechanism.upper())
    if challenge is None:
        return replies.UNKNOWN_MECHANISM if mechanism else replies.BAD_ARGUMENTS
    if not initial:
        return challenge
    # RFC 4954 §4: "=" is a response of no octets.
    return challenge.answered(b"" if initial == b"=" else initial)


def _asked(question: bytes, take: Callable[[bytes], Step]) -> Challenge:
    """Return a challenge whose answer is decoded for `take`."""

    def answered(line: bytes) -> Step:
        if line == b"*":
            return replies.LOGIN_CANCELLED
        try:
            octets = binascii.a2b_base64(line, strict_mode=True)
        except binascii.Error:
            return replies.BAD_BASE64
        return take(octets)

    return Challenge(replies.challenge(binascii.b2a_base64(question, newline=False).decode("ascii")), answered)


def _plain(message: bytes) -> Step:
    # message = [authzid] UTF8NUL authcid UTF8NUL passwd (RFC 4616 §2)
    parts = message.split(b"\0")
    if len(parts) != 3:
        return replies.BAD_LOGIN
    authzid, authcid, password = parts
    return _claim("PLAIN", authcid, password, authzid)


def _login(username: bytes) -> Step:
    if not username:
        return replies.BAD_LOGIN
    return _asked(b"Password:", lambda password: _claim("LOGIN", username, password))


def _claim(mechanism: str, authcid: bytes, password: bytes, authzid: bytes = b"") -> Step:
    if not authcid or not password or b"\0" in authcid + password:
        return replies.BAD_LOGIN
    if len(password) > PASSWORD_OCTETS or max(len(authcid), len(authzid)) > IDENTITY_OCTETS:
        return replies.BAD_LOGIN
    try:
        return Authenticate(mechanism, authcid.decode("utf-8"), password, authzid.decode("utf-8"))
    except UnicodeDecodeError:
        return replies.BAD_LOGIN


_MECHANISMS = {b"PLAIN": _asked(b"", _plain), b"LOGIN": _asked(b"Username:", _login)}
MECHANISMS = tuple(name.decode("ascii") for name in _MECHANISMS)
