"""Keys a domain signs its mail with, and the records that publish them (RFC 6376 §3.6).

A selector names one key for ever: whoever checks a signature asks for the record of its selector, perhaps days later.
"""

import re
from dataclasses import dataclass, field
from enum import Enum

SELECTOR_OCTETS = 63

SIGNED_LATE_SECONDS = 300.0
"""So long after a key retired there may be processes that did not hear of it and sign; they remember for a minute."""

VERIFIED_LATE_SECONDS = 86400.0
"""So long after mail left, its signature may still be looked at."""
# selector = sub-domain *( "." sub-domain )
_SELECTOR = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")


class KeyState(Enum):
    """Where a key is in its life; nothing leads back, but for the operator's word.

    generated   its record was not seen yet
    published   its record was seen
    active      it signs
    retiring    it signs no more; its record is needed as long as mail that it signed is under way
    revoked     nobody needs its record; its private half is gone
    """

    GENERATED = "generated"
    PUBLISHED = "published"
    ACTIVE = "active"
    RETIRING = "retiring"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a domain as it is told of, without its private half; times are epoch seconds, None for never.

    `algorithm` as in SigningKey, `public_key` is the p= of its record. `published_at` None of a key that signs is the
    operator's word. `sealed_with` is the id of the master key that the private half is encrypted with, None: in clear.
    """

    selector: str
    algorithm: str
    public_key: str
    state: KeyState
    created_at: float
    published_at: float | None = None
    active_at: float | None = None
    retiring_at: float | None = None
    revoked_at: float | None = None
    sealed_with: str | None = None


@dataclass(frozen=True, slots=True)
class KeyMove:
    """A key of a domain that goes from one state to another."""

    domain: str
    selector: str
    before: KeyState
    after: KeyState


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs for `domain`.

    `algorithm` is `ed25519`, or `rsa` with the length in bits: `rsa2048`. `private_key` is PKCS#8 as PEM and is never
    shown.
    """

    organisation: int
    domain: str
    selector: str
    algorithm: str
    private_key: bytes = field(repr=False)


def parse_selector(text: str) -> str:
    """Return a selector in lower case; ValueError when it is none."""
    selector = text.lower()
    if len(selector) > SELECTOR_OCTETS or not _SELECTOR.fullmatch(selector):
        raise ValueError(f"expected a selector such as s1, of at most {SELECTOR_OCTETS} characters, got {text!r}")
    return selector


def record_name(selector: str, domain: str) -> str:
    """Return the name under which a key's TXT record is published (RFC 6376 §3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def record_text(algorithm: str, public_key: str) -> str:
    """Return the text of a key's TXT record; `public_key` is the value of its p= (RFC 6376 §3.6.1, RFC 8463 §4)."""
    return f"v=DKIM1; k={key_type(algorithm)}; p={public_key}"


def key_type(algorithm: str) -> str:
    """Return the k= of an algorithm: `rsa` or `ed25519`."""
    return algorithm.rstrip("0123456789") if algorithm.startswith("rsa") else algorithm


def zone_line(name: str, text: str) -> str:
    """Return a TXT record as a line of a zone file: no string in it is over 255 octets (RFC 1035 §3.3)."""
    strings = " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))
    return f"{name}. IN TXT ( {strings} )"
