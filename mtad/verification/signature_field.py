"""DKIM-Signature and ARC-Message-Signature: the same tags, read into what is to be checked (RFC 6376 §3.5, §6.1.1).

Reading needs the header, for what is claimed of it: its digest. It needs no DNS, no body and no clock, so a message is
read once, and checked when the answers are there.
"""

import re

from mtad.model.answer import Kind, Question
from mtad.model.dkim import record_name
from mtad.model.text import shown
from mtad.verification import tags
from mtad.verification.canonical import RELAXED, SIMPLE, BodyForm
from mtad.verification.claims import ENOUGH, Claim, Signature, Strength
from mtad.verification.signed_header import Header
from mtad.verification.tags import Tags

MAX_NAMES = 1000
"""h= with more is none that a signer made."""

_NAME_OCTETS = 253
# sub-domain, with the underscore that names in the DNS may have
_DOMAIN = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")


def read(
    header: Header,
    place: int,
    found: Tags,
    strength: Strength = ENOUGH,
    *,
    of_subdomain: bool = False,
    unsaid_form: bytes = b"simple/simple",
) -> Signature:
    """Return what the signature at that place, its tags being `found`, says; ValueError why it cannot be checked.

    `unsaid_form` is what c= means when it is not there.
    """
    algorithm = read_algorithm(found, strength)
    hash_name = algorithm.partition("-")[2]
    header_form, body_form = _canonicalisations(found.get(b"c", unsaid_form))
    names = tags.listed(tags.present(found, b"h"))
    if len(names) > MAX_NAMES:
        raise ValueError("h= has too many names")
    from_count = len(header.places(b"from"))
    if from_count > 1 and names.count(b"from") < from_count:
        # Another author, put on top later, would be shown in the name of the one who signed (RFC 6376 §8.15).
        raise ValueError("not every From field is signed")
    signed_at, expires_at = tags.number(found, b"t"), tags.number(found, b"x")
    if signed_at is not None and expires_at is not None and expires_at <= signed_at:
        raise ValueError("it expires before it was made")
    form = BodyForm(body_form, hash_name, tags.number(found, b"l"))
    body_hash = tags.octets(found, b"bh")
    claim = Claim(
        question=read_question(found),
        algorithm=algorithm,
        number=tags.octets(found, b"b"),
        of_subdomain=of_subdomain,
        digest=header.digest(place, names, header_form, hash_name),
    )
    return Signature(claim, form, body_hash, signed_at, expires_at)


def read_algorithm(found: Tags, strength: Strength = ENOUGH) -> str:
    """Return a=, one of those that are strong enough; ValueError."""
    algorithm = tags.needed(found, b"a").decode("utf-8", "replace")
    if algorithm not in strength.algorithms:
        raise ValueError(f"a={shown(algorithm, 20)} is not believed")
    return algorithm


def read_domain(found: Tags) -> str:
    """Return d= in A-labels and lower case; ValueError when it is no domain name."""
    return _domain_name(tags.needed(found, b"d"), b"d")


def read_question(found: Tags) -> Question:
    """Return where the key of d= and s= is; ValueError when no key could be there."""
    name = record_name(_domain_name(tags.needed(found, b"s"), b"s"), read_domain(found))
    if len(name) > _NAME_OCTETS:
        raise ValueError("s= and d= are too long together")
    return Question(name, Kind.TXT)


def a_labels(name: str) -> str:
    """Return a domain name in lower case and A-labels; one that is none becomes no other's."""
    # U-labels are in normal form and lower case, so that their A-label is their Punycode (RFC 8616 §4).
    labels = name[:_NAME_OCTETS].lower().split(".")
    return ".".join(label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii") for label in labels)


def _domain_name(octets: bytes, tag: bytes) -> str:
    name = a_labels(octets.decode("utf-8", "replace"))
    if len(octets) > _NAME_OCTETS or not _DOMAIN.fullmatch(name):
        raise ValueError(f"{tag.decode('ascii')}= is no domain name")
    return name


def _canonicalisations(value: bytes) -> tuple[str, str]:
    """Return those of header and body; without the second the body's is simple (RFC 6376 §3.5)."""
    header, _, body = value.partition(b"/")
    names = (header.decode("utf-8", "replace"), body.decode("utf-8", "replace") if b"/" in value else SIMPLE)
    if not {SIMPLE, RELAXED}.issuperset(names):
        raise ValueError(f"c={shown(value, 20)} is not known")
    return names
