"""Passwords of mailboxes: argon2id (RFC 9106 §4, the second recommended option), and nothing else.

Both functions take tens of milliseconds and 64 MiB by design: they belong into `IOffload` or on the command line. A
password is text; which characters it may have is not decided here.
"""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher()


def hash_password(password: str) -> str:
    """Return a new hash, salt and parameters within it."""
    return _HASHER.hash(password)


def verify_password(password_hash: str, password: str) -> bool:
    """Return whether `password` made this hash; False also for what is no argon2 hash."""
    try:
        return _HASHER.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def is_current(password_hash: str) -> bool:
    """Return whether a hash was made with today's parameters; one that was not should be made anew when it can."""
    try:
        return not _HASHER.check_needs_rehash(password_hash)
    except InvalidHashError:
        return False
