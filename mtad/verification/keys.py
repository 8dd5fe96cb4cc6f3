"""Keys of domains: made, read, and their public half as it is published (RFC 6376 §3.6.1, RFC 8463 §4).

What is shorter than RSA with 2048 bits is not strong enough, and what is longer than 4096 not everybody can check
(RFC 8301 §3.2). Making and reading a key takes from milliseconds to seconds: for `IOffload` or the command line.
"""

import base64
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from mtad.model.dkim import record_text
from mtad.verification import key_record

ALGORITHMS = ("rsa2048", "rsa4096", "ed25519")
"""What keys are made of here; keys from elsewhere may be of RSA lengths between."""

_MIN_BITS = 2048
_MAX_BITS = 4096
_EXPONENT = 65537


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key: `private_key` as PEM of PKCS #8, never shown; `public_key` as the p= of its record."""

    algorithm: str
    private_key: bytes = field(repr=False)
    public_key: str


def generate(algorithm: str) -> KeyPair:
    """Return a new key of one of `ALGORITHMS`."""
    if algorithm == "ed25519":
        return _pair(Ed25519PrivateKey.generate())
    return _pair(rsa.generate_private_key(_EXPONENT, int(algorithm.removeprefix("rsa"))))


def read(pem: bytes) -> KeyPair:
    """Return the key that somebody brought; ValueError says in one line what it should have been."""
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise ValueError("expected a private key without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("expected a private key as PEM, RSA or Ed25519") from None
    if isinstance(key, rsa.RSAPrivateKey) and not _MIN_BITS <= key.key_size <= _MAX_BITS:
        raise ValueError(f"expected RSA with {_MIN_BITS} to {_MAX_BITS} bits, got {key.key_size}")
    if not isinstance(key, rsa.RSAPrivateKey | Ed25519PrivateKey):
        raise ValueError("expected an RSA or an Ed25519 key")
    return _pair(key)


def publishes(record: bytes, algorithm: str, public_key: str) -> bool:
    """Return whether a TXT record lets signatures be checked that a key of ours makes; `public_key` is its p=."""
    try:
        theirs = key_record.read(record)
        ours = key_record.read(record_text(algorithm, public_key).encode())
    except ValueError:
        return False
    return theirs.kind == ours.kind and theirs.key == ours.key and (theirs.hashes is None or b"sha256" in theirs.hashes)


def _pair(key: rsa.RSAPrivateKey | Ed25519PrivateKey) -> KeyPair:
    if isinstance(key, rsa.RSAPrivateKey):
        algorithm = f"rsa{key.key_size}"
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        algorithm = "ed25519"
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return KeyPair(algorithm, private, base64.b64encode(public).decode("ascii"))
