"""What a message may be found by: an address, a Message-ID, a peer, as a number (`message_keys`, DESIGN §5).

Only these numbers are stored, so a search finds a whole key or nothing, and may in principle find too much.
"""

import hashlib
import unicodedata
from functools import lru_cache


@lru_cache(maxsize=4096)  # recipients, senders and peers come again and again
def key_number(key: str) -> int:
    """Return the signed 64-bit number of a key; case, angle brackets and surrounding space make no difference.

    Text that is no text (lone surrogates) has a number too.
    """
    plain = key.strip().removeprefix("<").removesuffix(">")
    folded = plain.lower() if plain.isascii() else unicodedata.normalize("NFC", plain.casefold())
    digest = hashlib.blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
