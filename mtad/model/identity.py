"""Message ids: unique among all nodes without asking anybody, ordered by time, short to say aloud.

63 bits: 42 of milliseconds since 2024-01-01 UTC, 12 of the slot a node holds, 9 of sequence (DESIGN D6). Printed in
Crockford's base32, 13 characters. The clock may step back: an id is never below the last one issued.
"""

from functools import lru_cache

EPOCH_SECONDS = 1_704_067_200
SLOT_BITS = 12
SEQUENCE_BITS = 9
SLOTS = 1 << SLOT_BITS
_SEQUENCES = 1 << SEQUENCE_BITS
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_LENGTH = 13
_PLACES = range(5 * (_LENGTH - 1), -1, -5)
# A message is told of again and again, from Received to the log, while it is in hand; some thousands are at most.
_IN_HAND = 4096


def next_id(slot: int, last: int, now: float) -> int:
    """Return the id that follows `last` (0 for none) for the holder of `slot` at `now` (epoch seconds)."""
    tick = max(0, int((now - EPOCH_SECONDS) * 1000))
    sequence = 0
    last_tick = last >> (SLOT_BITS + SEQUENCE_BITS)
    if tick <= last_tick and last:
        tick, sequence = last_tick, (last & (_SEQUENCES - 1)) + 1
        if sequence == _SEQUENCES:
            tick, sequence = tick + 1, 0
    return tick << (SLOT_BITS + SEQUENCE_BITS) | slot << SEQUENCE_BITS | sequence


def first_id(at: float) -> int:
    """Return the least id that may be issued at a time (epoch seconds); all issued before are below it."""
    return max(0, int((at - EPOCH_SECONDS) * 1000)) << (SLOT_BITS + SEQUENCE_BITS)


@lru_cache(maxsize=_IN_HAND)
def print_id(message_id: int) -> str:
    """Return the printed form of an id."""
    return "".join(_ALPHABET[message_id >> place & 31] for place in _PLACES)


def parse_id(text: str) -> int:
    """Return the id that `text` prints; ValueError when it is none."""
    value = 0
    cleaned = text.strip().upper().replace("-", "")
    if len(cleaned) != _LENGTH:
        raise ValueError(f"expected a message id of {_LENGTH} characters, got {text!r}")
    for letter in cleaned:
        if letter not in _VALUES:
            raise ValueError(f"expected a message id in base32, got {text!r}")
        value = value << 5 | _VALUES[letter]
    if value >> 63:
        raise ValueError(f"expected a message id, got {text!r}, which is too large for one")
    return value
