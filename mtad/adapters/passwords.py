"""Passwords of mailboxes: argon2id (RFC 9106 §4, the second recommended option), and beside it verifiers for SCRAM.

Hashing and verifying take tens of milliseconds and 64 MiB by design: they belong into `IOffload` or on the command
line. A password is text, on the wire its UTF-8; which characters it may have is not decided here.
"""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mtad.smtp.scram import SALT_OCTETS, verifier_of

_HASHER = PasswordHasher()
# Of today's parameters, so that who has no mailbox waits as long as who has one.
_NOBODYS = "$argon2id$v=19$m=65536,t=3,p=4$n8Wpw+qu+Fdlm1NqsLmtnw$gDwataIEDc9fUvINo9pZJemWgkg4K4xyBg0rgGbaD+Q"


def hash_password(password: str) -> str:
    """Return a new hash, salt and parameters within it."""
    return _HASHER.hash(password)


def scram_verifier(password: str) -> str | None:
    """Return a new verifier (RFC 5803), salt and iterations within it; None for a password SCRAM cannot take."""
    return verifier_of(password, secrets.token_bytes(SALT_OCTETS))


def verify_password(password_hash: str | None, password: str | bytes) -> bool:
    """Return whether `password` made this hash; False also for what is no argon2 hash.

    None is nobody's hash: it takes as long as any other and no password made it.
    """
    try:
        return _HASHER.verify(password_hash or _NOBODYS, password) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


def is_current(password_hash: str) -> bool:
    """Return whether a hash was made with today's parameters; one that was not should be made anew when it can."""
    try:
        return not _HASHER.check_needs_rehash(password_hash)
    except InvalidHashError:
        return False
