"""Master keys, which private keys are sealed with where they are stored: one or several, the first of which writes.

MTAD_MASTER_KEY=b64key                   one key; its id follows from it
MTAD_MASTER_KEY=new:b64key,old:b64key    the first writes, all of them read
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

OCTETS = 32
"""AES-256."""

_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ID_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A key of 32 octets, never shown; `id` says beside a ciphertext what it was sealed with."""

    id: str
    octets: bytes = field(repr=False)


def parse_master_keys(text: str) -> tuple[MasterKey, ...]:
    """Return the keys of a list with commas; ValueError, which shows none of them."""
    keys = tuple(_key(part.strip()) for part in text.split(","))
    if len({key.id for key in keys}) < len(keys):
        raise ValueError("expected each master key once, and ids of their own")
    return keys


def _key(text: str) -> MasterKey:
    name, colon, encoded = text.rpartition(":")
    try:
        octets = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if len(octets) != OCTETS or (colon and not _ID.fullmatch(name)):
        raise ValueError(f"expected master keys of {OCTETS} octets in base64, as KEY or ID:KEY, with commas between")
    return MasterKey(name or hashlib.sha256(octets).hexdigest()[:_ID_CHARACTERS], octets)
