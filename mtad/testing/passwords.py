"""Passwords without argon2: a hash that takes no time, for worlds in which many log in.

What it is held to is `mtad.adapters.passwords`: a hash verifies its own password only, None verifies nothing.
"""

import hashlib


def hash_password(password: str) -> str:
    """Return the hash of a password; the same one each time."""
    return f"$test${hashlib.sha256(password.encode()).hexdigest()}"


def verify_password(password_hash: str | None, password: bytes) -> bool:
    """Return whether `password` made this hash."""
    return password_hash == f"$test${hashlib.sha256(password).hexdigest()}"
