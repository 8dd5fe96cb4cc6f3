"""SCRAM-SHA-256 and its -PLUS, the server's side (RFC 5802, RFC 7677), bound to TLS by tls-exporter (RFC 9266).

The library scramp reads the messages, prepares names and passwords (SASLprep) and judges proofs; this is its one home
and gives it types. It does not know tls-exporter, so the GS2 header, which says whether the exchange is bound to the
connection, is read and judged here, and scramp is told what `c=` has to be. Nonces, salts and keys are arguments.

A verifier is the text of RFC 5803: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`. Who has none is asked all the
same, with one that is made up (`nobodys`) and that no password made. Base64 of the lines and who may log in are not
this module's business.
"""

import binascii
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scramp import ScramException, ScramMechanism

SCRAM = "SCRAM-SHA-256"
PLUS = "SCRAM-SHA-256-PLUS"
BINDING = "tls-exporter"

ITERATIONS = 100_000
"""Of new verifiers. RFC 7677 §4 asks for 4096 at least; these cost a client 20 ms to 200 ms, once a password."""

SALT_OCTETS = 16
# A name, a nonce and a GS2 header with another name are less.
_OPENING_OCTETS = 2048
_CLOSING_OCTETS = 4096

# gs2-header = gs2-cbind-flag "," [ authzid ] ","   gs2-cbind-flag = ("p=" cb-name) / "n" / "y"
# authzid = "a=" saslname   cb-name = 1*(ALPHA / DIGIT / "." / "-")   (RFC 5802 §7); gsasl has no name behind "a=".
_GS2_HEADER = re.compile(r"(?:p=(?P<name>[A-Za-z0-9.-]+)|(?P<flag>[ny])),(?:a=(?P<authzid>(?:[^,=\0]|=2C|=3D)*))?,")
# client-final-message = channel-binding "," nonce ["," extensions] "," proof (RFC 5802 §7)
_CLOSING = re.compile(r"c=[A-Za-z0-9+/=]+,r=[!-+\--~]+(?:,[A-Za-z]=[^,\0]+)*,p=[A-Za-z0-9+/=]+")
# SASLprep takes microseconds for each character of a name, and an address has no more than these.
_BARE = re.compile(r"n=[^,]{1,320},r=.+", re.DOTALL)
_VERIFIER = re.compile(r"SCRAM-SHA-256\$([0-9]{4,8}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")

_PARTS = (b"salt", b"stored", b"server")

_Keys = tuple[bytes, bytes, bytes, int]
"""Salt, StoredKey, ServerKey and how many iterations, as scramp has them."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The client's first message: it claims to be `authcid` and to act for `authzid` (empty: for itself).

    `binding` names the channel binding it uses; None is none, and then `deems_unable` says that it would have used one
    had it been offered. `header` and `bare` are the parts of the message.
    """

    mechanism: str
    authcid: str
    authzid: str
    binding: str | None
    deems_unable: bool
    header: str
    bare: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Question:
    """The server's first message, `text`, and what judges the client's answer to it.

    `judge` returns the server's last message when the answer proves the password, None when it does not; ValueError
    when it is no answer.
    """

    text: bytes
    judge: Callable[[bytes], bytes | None]


def opening(mechanism: str, message: bytes) -> Opening:
    """Read the client's first message of this mechanism; ValueError when it is none, or too long."""
    if len(message) > _OPENING_OCTETS:
        raise ValueError("too long")
    text = message.decode("utf-8")
    header = _GS2_HEADER.match(text)
    if header is None:
        raise ValueError("no GS2 header")
    bare = text[header.end() :]
    if not _BARE.fullmatch(bare):
        raise ValueError("no name of a fit length, and a nonce")
    return Opening(
        mechanism=mechanism,
        authcid=_name(bare),
        authzid=(header["authzid"] or "").replace("=2C", ",").replace("=3D", "="),
        binding=header["name"],
        deems_unable=header["flag"] == "y",
        header=header.group(),
        bare=bare,
    )


def wrong_binding(asked: Opening, binding: bytes | None) -> str | None:
    """Return why an exchange may not go on as the client would bind it, None when it may (RFC 5802 §6).

    `binding` is the connection's tls-exporter value; None: it has none, and -PLUS was not offered.
    """
    if asked.mechanism == PLUS and (asked.binding is None or binding is None):
        return "no channel binding with -PLUS"
    if asked.mechanism != PLUS and asked.binding is not None:
        return "channel binding without -PLUS"
    if asked.binding not in (None, BINDING):
        return "another channel binding than tls-exporter"
    if asked.deems_unable and binding is not None:
        # Somebody between us took -PLUS out of what we offered.
        return "channel binding was offered and not seen"
    return None


def question(asked: Opening, verifier: str, nonce: str, binding: bytes | None) -> Question:
    """Return what to ask the client, which has to prove the password of `verifier`; `nonce` is new and random.

    The binding must have been found right (`wrong_binding`). ValueError for what is no verifier.
    """
    server = _server(asked.bare, keys_of(verifier), nonce)
    text = server.get_server_first().encode("utf-8")
    bound = binding if asked.binding is not None and binding is not None else b""
    server.gs2_header = _Bound(asked.header.encode("utf-8") + bound)

    def judge(message: bytes) -> bytes | None:
        if len(message) > _CLOSING_OCTETS:
            raise ValueError("too long")
        closing = message.decode("utf-8")
        if not _CLOSING.fullmatch(closing):
            raise ValueError("not the client's final message")
        try:
            server.set_client_final(closing)
        except ScramException:
            return None
        final: str = server.get_server_final()
        return final.encode("utf-8")

    return Question(text, judge)


def verifier_of(password: str, salt: bytes, iterations: int = ITERATIONS) -> str | None:
    """Return the verifier of a password; None when SASLprep takes it for none (RFC 4013): it cannot be used here.

    It takes some tens of milliseconds.
    """
    try:
        keys = ScramMechanism(SCRAM).make_auth_info(password, iteration_count=iterations, salt=salt)
    except ScramException:
        return None
    return _text(keys)


def is_verifier(text: str) -> bool:
    """Return whether a text is a verifier."""
    try:
        keys_of(text)
    except ValueError:
        return False
    return True


def is_of(verifier: str, password: str) -> bool:
    """Return whether a verifier is this password's, made with today's iterations; takes as long as making one."""
    if not is_verifier(verifier):
        return False
    salt, _, _, iterations = keys_of(verifier)
    made = verifier_of(password, salt, iterations) if iterations == ITERATIONS else None
    return made is not None and hmac.compare_digest(made, verifier)


def nobodys(name: str, key: bytes) -> str:
    """Return a verifier that no password made, always the same for one name and one secret key.

    So who asks for a name again and again cannot tell it from one that somebody has.
    """
    salt, stored, server = (hmac.digest(key, b"%s %s" % (part, name.encode()), "sha256") for part in _PARTS)
    return _text((salt[:SALT_OCTETS], stored, server, ITERATIONS))


def keys_of(verifier: str) -> _Keys:
    """Return what a verifier holds; ValueError when it is none."""
    match = _VERIFIER.fullmatch(verifier)
    if match is None:
        raise ValueError("expected a verifier of RFC 5803")
    salt, stored, server = (binascii.a2b_base64(part, strict_mode=True) for part in match.groups()[1:])
    return salt, stored, server, int(match[1])


def _text(keys: _Keys) -> str:
    salt, stored, server = (binascii.b2a_base64(part, newline=False).decode("ascii") for part in keys[:3])
    return f"SCRAM-SHA-256${keys[3]}:{salt}${stored}:{server}"


class _Bound:
    """Stands for scramp's own reading of the GS2 header: what `c=` has to be, the channel's binding included."""

    def __init__(self, expected: bytes) -> None:
        self._expected = expected

    def make_cbind_input(self, channel_binding: object) -> bytes:
        """Return what `c=` has to be."""
        return self._expected


def _name(bare: str) -> str:
    """Return who the rest of a first message says its sender is; ValueError when it does not."""
    names: list[str] = []

    def note(name: str) -> _Keys:
        names.append(name)
        return keys_of(nobodys(name, b"nobody"))

    try:
        ScramMechanism(SCRAM).make_server(note, s_nonce="0").set_client_first(f"n,,{bare}")
    except ScramException as wrong:
        raise ValueError(str(wrong)) from wrong
    return names[0]


def _server(bare: str, keys: _Keys, nonce: str) -> Any:
    """Return scramp's side of an exchange that began with a message that was read before."""
    server = ScramMechanism(SCRAM).make_server(lambda name: keys, s_nonce=nonce)
    server.set_client_first(f"n,,{bare}")
    return server
