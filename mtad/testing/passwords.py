"""Passwords without argon2: a hash that takes no time, for worlds in which many log in, and verifiers that take little.

What it is held to is `mtad.adapters.passwords`: a hash verifies its own password only, None verifies nothing.
"""

import hashlib
from functools import lru_cache

from mtad.smtp.scram import SALT_OCTETS, verifier_of

ITERATIONS = 4096
"""The fewest there may be (RFC 7677 §4)."""


def hash_password(password: str) -> str:
    """Return the hash of a password; the same one each time."""
    return f"$test${hashlib.sha256(password.encode()).hexdigest()}"


def verify_password(password_hash: str | None, password: bytes) -> bool:
    """Return whether `password` made this hash."""
    return password_hash == f"$test${hashlib.sha256(password).hexdigest()}"


@lru_cache
def scram_verifier(password: str) -> str | None:
    """Return the verifier of a password; the same one each time."""
    return verifier_of(password, hashlib.sha256(password.encode()).digest()[:SALT_OCTETS], ITERATIONS)
