"""Private keys, encrypted where they are stored: AES-256 in GCM (NIST SP 800-38D), by master keys of the configuration.

What is sealed is bound to whose it is: moved to another domain or selector it does not open. Without a master key
nothing is sealed, and what is in clear opens as it is. Sealed are the 12 octets of the nonce, which is random, and what
AES-GCM makes.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mtad.model.errors import Unavailable
from mtad.model.master_key import MasterKey

NONCE_OCTETS = 12


@dataclass(frozen=True, slots=True)
class Stored:
    """A private key as it is stored: sealed with the master key of that id, or in clear (None)."""

    octets: bytes = field(repr=False)
    sealed_with: str | None = None


class Sealing:
    """Seals with the first of `master_keys` and opens with any; `nonce` gives so many random octets."""

    def __init__(
        self, master_keys: Sequence[MasterKey] = (), nonce: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._ciphers = {key.id: AESGCM(key.octets) for key in master_keys}
        self._nonce = nonce
        self.ids = tuple(self._ciphers)
        self.writes_with = master_keys[0].id if master_keys else None

    def seal(self, private_key: bytes, domain: str, selector: str) -> Stored:
        """Return a private key as it is to be stored."""
        if self.writes_with is None:
            return Stored(private_key)
        nonce = self._nonce(NONCE_OCTETS)
        sealed = self._ciphers[self.writes_with].encrypt(nonce, private_key, _whose(domain, selector))
        return Stored(nonce + sealed, self.writes_with)

    def open(self, stored: Stored, domain: str, selector: str) -> bytes:
        """Return the private key; Unavailable, which names the master key, when there is none that opens it."""
        if stored.sealed_with is None:
            return stored.octets
        cipher = self._ciphers.get(stored.sealed_with)
        named = f"the key {selector} of {domain} is sealed with the master key {stored.sealed_with}"
        if cipher is None:
            raise Unavailable("master_key", f"{named}, which is not configured")
        nonce, sealed = stored.octets[:NONCE_OCTETS], stored.octets[NONCE_OCTETS:]
        try:
            return cipher.decrypt(nonce, sealed, _whose(domain, selector))
        except (InvalidTag, ValueError):
            raise Unavailable("master_key", f"{named}, and the one of that id does not open it") from None


def _whose(domain: str, selector: str) -> bytes:
    return f"dkim {selector}._domainkey.{domain}".encode()
