"""The records that keys are published in, read for those who check signatures (RFC 6376 §3.6.1, RFC 8463 §4).

A record of a peer's domain is a peer's word: its length is bounded, and so is what arithmetic with its key can cost
(RFC 8301 §3.2 asks for RSA of up to 4096 bits). What was read is kept for the next message, by its record.
"""

from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mtad.model.text import shown
from mtad.verification import tags

MAX_OCTETS = 4096
MAX_RSA_BITS = 4096
MAX_EXPONENT_BITS = 33
_CACHED = 1024
_ED25519_OCTETS = 32
# SHA-1 is here for whoever allows it (`mtad.verification.claims.Strength`); nobody but tests of old collections does.
_HASHES = {"sha256": Prehashed(SHA256()), "sha1": Prehashed(SHA1())}  # noqa: S303


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key and its terms: `kind` is k=, `hashes` those that h= allows, None for all.

    `strict` (t=s) wants i= to be of the domain itself, `testing` is t=y.
    """

    kind: str
    key: RSAPublicKey | Ed25519PublicKey
    bits: int
    hashes: frozenset[bytes] | None
    strict: bool
    testing: bool

    def made(self, number: bytes, digest: bytes, hash_name: str) -> bool:
        """Return whether this key made that signature of a digest."""
        try:
            if isinstance(self.key, RSAPublicKey):
                self.key.verify(number, digest, PKCS1v15(), _HASHES[hash_name])
            else:
                self.key.verify(number, digest)
        except InvalidSignature:
            return False
        return True


@lru_cache(maxsize=_CACHED)
def read(text: bytes) -> KeyRecord:
    """Return the key that a TXT record holds for mail; ValueError says in a few words, fit to be shown, why none."""
    if len(text) > MAX_OCTETS:
        raise ValueError("the record is too long")
    found = tags.parse(text)
    if b"v" in found and (next(iter(found)) != b"v" or found[b"v"] != b"DKIM1"):
        raise ValueError("the record is not of version DKIM1")
    services = tags.listed(found.get(b"s", b"*"))
    if b"*" not in services and b"email" not in services:
        raise ValueError("the key is not for mail")
    if found.get(b"p") == b"":
        raise ValueError("the key is revoked")
    kind = found.get(b"k", b"rsa")
    flags = tags.listed(found.get(b"t", b""))
    key, bits = _key(kind, tags.octets(found, b"p"))
    return KeyRecord(
        kind=kind.decode("ascii"),
        key=key,
        bits=bits,
        hashes=frozenset(tags.listed(found[b"h"])) if b"h" in found else None,
        strict=b"s" in flags,
        testing=b"y" in flags,
    )


def _key(kind: bytes, octets: bytes) -> tuple[RSAPublicKey | Ed25519PublicKey, int]:
    if kind == b"ed25519":
        if len(octets) != _ED25519_OCTETS:
            raise ValueError("p= is no Ed25519 key")
        return Ed25519PublicKey.from_public_bytes(octets), 8 * _ED25519_OCTETS
    if kind != b"rsa":
        raise ValueError(f"k={shown(kind, 20)} is not known")
    try:
        key = load_der_public_key(octets)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("p= is no RSA key") from None
    if not isinstance(key, RSAPublicKey):
        raise ValueError("p= is no RSA key")
    if key.key_size > MAX_RSA_BITS or key.public_numbers().e.bit_length() > MAX_EXPONENT_BITS:
        raise ValueError("the key is larger than is computed with")
    return key, key.key_size
