"""The canonicalisations of fields and bodies (RFC 6376 §3.4), and the digests of bodies.

A body is taken in blocks, and between two of them the caller may let others have their turn: 25 MB take a tenth of a
second. What is held back from one block to the next is a few octets, and no block costs more than its own length,
whatever the body is.

Content has no lone CR or LF when it comes here (`mtad.smtp.data`); with one the result is some digest, no error.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BLOCK_OCTETS = 64 * 1024
RELAXED = "relaxed"
SIMPLE = "simple"
_CRLF = b"\r\n"


@dataclass(frozen=True, slots=True)
class BodyForm:
    """What of a body is hashed, and how: `limit_octets` of its canonical form (l=), None for all of it."""

    canonicalisation: str = RELAXED
    hash: str = "sha256"
    limit_octets: int | None = None


@dataclass(frozen=True, slots=True)
class BodyDigest:
    """A digest; `whole` tells whether it is over all of the canonical body."""

    digest: bytes
    whole: bool


def field(name: bytes, value: bytes) -> bytes:
    """Return a field in its relaxed form (RFC 6376 §3.4.2), without the CRLF that ends it."""
    unfolded = value.replace(_CRLF, b"")
    return name.strip(b" \t").lower() + b":" + _single_spaced(unfolded).strip(b" ")


def simple_field(name: bytes, value: bytes) -> bytes:
    """Return a field in its simple form (RFC 6376 §3.4.1): as it stands there."""
    return name + b":" + value


class BodyHash:
    """A digest over a canonical body that comes in any number of pieces, and over beginnings of it."""

    def __init__(self, canonicalisation: str = RELAXED, hash_name: str = "sha256", limits: Iterable[int] = ()) -> None:
        self._relaxed = canonicalisation == RELAXED
        self._white = b" \r\n" if self._relaxed else _CRLF
        self._begun = b""
        self._hash = hashlib.new(hash_name)
        self._octets = 0
        # Where the last text ended so far: what follows it are empty lines, which count only if text comes again.
        self._text_hash = self._hash.copy()
        self._text_octets = 0
        self._limits = sorted(set(limits), reverse=True)
        self._beginnings: dict[int, bytes] = {}

    def update(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        text = self._begun + piece
        if self._relaxed:
            text = _single_spaced(text).replace(b" " + _CRLF, _CRLF)
        kept = text.rstrip(self._white)
        if kept:
            self._put(kept)
            self._text_hash = self._hash.copy()
            self._text_octets = self._octets
        # White space at the end of a line counts for nothing in the relaxed form, nor do empty lines at the end of the
        # body; whether this is either only the next piece tells.
        tail = text[len(kept) :]
        self._put(_CRLF * tail.count(_CRLF))
        self._begun = tail.rpartition(_CRLF)[2]

    def digest(self) -> bytes:
        """Return the digest; the body ends here, and so does its last line."""
        whole = self._text_hash.copy()
        whole.update(self._end())
        return whole.digest()

    def beginning(self, octets: int) -> BodyDigest | None:
        """Return the digest over so many octets, one of the `limits`; None when the canonical body has not as many."""
        missing = octets - self._text_octets
        if missing < 0:
            return BodyDigest(self._beginnings[octets], False)
        end = self._end()
        if missing > len(end):
            return None
        beginning = self._text_hash.copy()
        beginning.update(end[:missing])
        return BodyDigest(beginning.digest(), missing == len(end))

    def _end(self) -> bytes:
        """Return what ends the body after its last text: an empty one has a line's end only when simple (§3.4.3)."""
        return _CRLF if self._text_octets or not self._relaxed else b""

    def _put(self, octets: bytes) -> None:
        taken = 0
        while self._limits and self._limits[-1] <= self._octets + len(octets):
            limit = self._limits.pop()
            cut = limit - self._octets
            self._hash.update(octets[taken:cut])
            taken = cut
            self._beginnings[limit] = self._hash.digest()
        self._hash.update(octets[taken:])
        self._octets += len(octets)


class BodyHashes:
    """The digests of one body in several forms: one pass for each canonicalisation, however many limits there are."""

    def __init__(self, forms: Iterable[BodyForm]) -> None:
        self._forms = frozenset(forms)
        passes = {(form.canonicalisation, form.hash) for form in self._forms}
        self._hashes = {each: BodyHash(*each, limits=self._limits(*each)) for each in passes}

    def update(self, block: bytes) -> None:
        """Take the next block of the body."""
        for each in self._hashes.values():
            each.update(block)

    def digests(self) -> dict[BodyForm, BodyDigest]:
        """Return the digest of each form; those are left out whose limit is beyond the end of the body."""
        made = {}
        for form in self._forms:
            body_hash = self._hashes[form.canonicalisation, form.hash]
            if form.limit_octets is None:
                made[form] = BodyDigest(body_hash.digest(), True)
            elif beginning := body_hash.beginning(form.limit_octets):
                made[form] = beginning
        return made

    def _limits(self, canonicalisation: str, hash_name: str) -> list[int]:
        return [
            form.limit_octets
            for form in self._forms
            if form.limit_octets is not None and (form.canonicalisation, form.hash) == (canonicalisation, hash_name)
        ]


def blocks(body: bytes) -> Iterator[bytes]:
    """Return a body in pieces small enough for one turn."""
    for start in range(0, len(body), BLOCK_OCTETS):
        yield body[start : start + BLOCK_OCTETS]


def _single_spaced(text: bytes) -> bytes:
    """Return text in which each run of spaces and tabs is one space; a few passes in C, however long the runs."""
    text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text
