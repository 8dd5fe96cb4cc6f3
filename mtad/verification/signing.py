"""DKIM signatures, made (RFC 6376 §5, RFC 8463 §3): what is signed, in which form, and the field that says so.

    signed = SignedFields(fields)
    draft = signed.draft(Terms(domain, selector, algorithm, at), body_hash)
    field = draft.finished(signature(algorithm, private_key, draft.digest))

Only `signature` is slow: it is for `IOffload`, takes and gives plain octets, and leaves the arithmetic to OpenSSL.
`relaxed/relaxed`, the whole body, no expiry. Where the body hash comes from is `mtad.verification.canonical`'s matter,
whose key signs `mtad.policy.signing`'s.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mtad.model.dkim import key_type
from mtad.verification import canonical

SEALED = (b"from", b"to", b"subject", b"date", b"message-id")
"""Signed once more than they are there: another one, added later, breaks the signature (RFC 6376 §8.15)."""

# RFC 6376 §5.4.1; RFC 8058 §4 for List-Unsubscribe-Post; what says how the body is to be read; the submitter.
SIGNED = (
    *SEALED,
    *(b"cc", b"reply-to", b"sender", b"in-reply-to", b"references"),
    *(b"mime-version", b"content-type", b"content-transfer-encoding"),
    *(b"resent-date", b"resent-from", b"resent-to", b"resent-cc"),
    *(b"list-id", b"list-help", b"list-unsubscribe", b"list-unsubscribe-post"),
    *(b"list-subscribe", b"list-post", b"list-owner", b"list-archive"),
)

_NAME = b"DKIM-Signature"
_LINE_CHARACTERS = 72


@dataclass(frozen=True, slots=True)
class Terms:
    """Whose key signs, how, and when (epoch seconds)."""

    domain: str
    selector: str
    algorithm: str
    at: float


@dataclass(frozen=True, slots=True)
class Draft:
    """A signature that lacks only the number: the field up to it, and the digest that the key signs."""

    value: bytes
    digest: bytes

    def finished(self, made: bytes) -> bytes:
        """Return the field with the signature in it, its CRLF included."""
        lines = _wrapped(base64.b64encode(made))
        return _NAME + b":" + self.value + b"\r\n\t ".join(lines) + b"\r\n"


class SignedFields:
    """The fields of one message that its signatures cover, however many keys sign."""

    def __init__(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        there: dict[bytes, list[bytes]] = {name: [] for name in SIGNED}
        for name, value in fields:
            values = there.get(name.lower())
            if values is not None:
                values.append(value)
        self._names: list[bytes] = []
        self._hash = hashlib.sha256()
        for name, values in there.items():
            self._names += [name] * (len(values) + (name in SEALED))
            # The last of a name is the first that is signed (RFC 6376 §5.4.2).
            for value in reversed(values):
                self._hash.update(canonical.field(name, value) + b"\r\n")

    def draft(self, terms: Terms, body_hash: bytes) -> Draft:
        """Return the signature to be; `body_hash` is the SHA-256 of the canonical body."""
        value = (
            f" v=1; a={key_type(terms.algorithm)}-sha256; c=relaxed/relaxed;\r\n"
            f"\td={terms.domain}; s={terms.selector};\r\n"
            f"\tt={int(terms.at)}; bh={base64.b64encode(body_hash).decode('ascii')};\r\n"
            f"\th="
        ).encode("ascii") + b"\r\n\t ".join(_listed(self._names))
        value += b";\r\n\tb="
        hashed = self._hash.copy()
        hashed.update(canonical.field(_NAME, value))
        return Draft(value, hashed.digest())


def signature(algorithm: str, private_key: bytes, digest: bytes) -> bytes:
    """Return what the key (PEM) makes of a SHA-256 digest; ValueError when it is no key of this algorithm.

    RSA is PKCS #1 v1.5 over the digest (RFC 6376 §3.3.2); Ed25519 takes the digest as its message (RFC 8463 §3).
    """
    key = _loaded(private_key)
    match key_type(algorithm), key:
        case "rsa", RSAPrivateKey():
            return key.sign(digest, PKCS1v15(), Prehashed(SHA256()))
        case "ed25519", Ed25519PrivateKey():
            return key.sign(digest)
    raise ValueError(f"a key is not what its row says, {algorithm}")


@lru_cache(maxsize=1024)  # reading a key takes OpenSSL as long as signing with it
def _loaded(private_key: bytes) -> object:
    # It was checked when it came (`mtad.verification.keys`); the check takes a hundred times as long as a signature.
    return load_pem_private_key(private_key, None, unsafe_skip_rsa_key_validation=True)


def _listed(names: Sequence[bytes]) -> list[bytes]:
    """Return names with colons between, as lines; white space may follow a colon (RFC 6376 §3.5)."""
    lines = [b""]
    for number, name in enumerate(names, 1):
        word = name if number == len(names) else name + b":"
        if len(lines[-1]) + len(word) > _LINE_CHARACTERS:
            lines.append(b"")
        lines[-1] += word
    return lines


def _wrapped(text: bytes) -> list[bytes]:
    return [text[start : start + _LINE_CHARACTERS] for start in range(0, len(text), _LINE_CHARACTERS)]
