"""The server's side of AUTH without I/O: the mechanisms PLAIN (RFC 4616), LOGIN and SCRAM, over RFC 4954 §4's lines.

A step of an exchange is a `Challenge`, which owes the peer a 334 and takes its next line; the reply that ends the
exchange because what came is no answer; or what the caller has to go on with. By password that is an `Authenticate`,
which says who the peer claims to be. By SCRAM (RFC 5802) it is first an `Opening`, which `question` goes on from, then
a `Proof`; one that is let in is asked its `final`, and `Confirm`s.

Base64 is taken only as RFC 4648 §4 writes it; identities and passwords are bounded. Whether a claim is true is not
decided here.
"""

import binascii
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from mtad.model import replies
from mtad.model.reply import Reply
from mtad.smtp import scram
from mtad.smtp.scram import PLUS, SCRAM, Opening

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


@dataclass(frozen=True, slots=True)
class Proof:
    """What a SCRAM exchange came to: `wrong` is empty when the peer knows the password of `verifier`, else it says why.

    `final` then tells the peer that the server knows the verifier, too.
    """

    mechanism: str
    authcid: str
    authzid: str
    verifier: str = field(repr=False)
    wrong: str = ""
    final: "Challenge | None" = None


@dataclass(frozen=True, slots=True)
class Confirm:
    """The peer took the server's last message; it is logged in now."""


Step = Challenge | Authenticate | Opening | Proof | Confirm | Reply


def mechanisms(channel_binding: bool) -> tuple[str, ...]:
    """Return what is offered, the best first; -PLUS only where the connection has a channel binding."""
    return (*((PLUS,) if channel_binding else ()), SCRAM, "PLAIN", "LOGIN")


def begin(argument: bytes, offered: Collection[str]) -> Step:
    """Return the first step of AUTH with this argument: a mechanism, and perhaps an initial response."""
    mechanism, _, initial = argument.partition(b" ")
    name = mechanism.upper().decode("ascii", "replace")
    challenge = _MECHANISMS.get(name) if name in offered else None
    if challenge is None:
        return replies.UNKNOWN_MECHANISM if mechanism else replies.BAD_ARGUMENTS
    if not initial:
        return challenge
    # RFC 4954 §4: "=" is a response of no octets.
    return challenge.answered(b"" if initial == b"=" else initial)


def question(asked: Opening, *, verifier: str, nonce: str, binding: bytes | None) -> Challenge | Proof:
    """Return the step after a SCRAM exchange's first message: the password of `verifier` has to be proven.

    `binding` is the connection's tls-exporter value, None when it has none; `nonce` is new and random.
    """

    def proof(wrong: str, final: Challenge | None = None) -> Proof:
        return Proof(asked.mechanism, asked.authcid, asked.authzid, verifier, wrong, final)

    trouble = scram.wrong_binding(asked, binding)
    if trouble is not None:
        return proof(trouble)
    put = scram.question(asked, verifier, nonce, binding)

    def judged(message: bytes) -> Step:
        try:
            final = put.judge(message)
        except ValueError:
            return replies.BAD_LOGIN
        # RFC 4954 §4 has no room for it beside the 235, so it is a question; the answer has no octets.
        return proof("wrong password") if final is None else proof("", _asked(final, _confirmed))

    return _asked(put.text, judged)


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


def _scram(mechanism: str) -> Challenge:
    def opened(message: bytes) -> Step:
        try:
            return scram.opening(mechanism, message)
        except ValueError:
            return replies.BAD_LOGIN

    return _asked(b"", opened)


def _confirmed(message: bytes) -> Step:
    return replies.BAD_LOGIN if message else Confirm()


_MECHANISMS = {
    "PLAIN": _asked(b"", _plain),
    "LOGIN": _asked(b"Username:", _login),
    SCRAM: _scram(SCRAM),
    PLUS: _scram(PLUS),
}
