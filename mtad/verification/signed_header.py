"""A message's header as signatures see it: fields picked by name from the bottom up, and their digests.

    header = Header(mtad.message.headers.raw_fields(block), whole=mtad.message.headers.is_whole(block))

One `Header` serves all checks of one message: each field is brought into canonical form once, whoever signed it. What
the signatures of a message may have hashed in all is bounded: a peer chooses both the header and how many there are.
"""

import hashlib
from collections.abc import Iterable, Sequence

from mtad.verification import canonical
from mtad.verification.tags import without_b

MAX_SIGNED_OCTETS = 4 * 1024 * 1024
"""So much of the header, over all signatures, is hashed: some ten milliseconds."""

_CRLF = b"\r\n"


class Header:
    """The fields of a message from top to bottom; a field's place is its number in that order.

    `whole` tells whether they are all: what was signed cannot be told from a part.
    """

    def __init__(self, fields: Sequence[tuple[bytes, bytes]], *, whole: bool = True) -> None:
        self.whole = whole
        self._fields = fields
        self._places: dict[bytes, list[int]] = {}
        for place, (name, _) in enumerate(fields):
            self._places.setdefault(name.rstrip(b" \t").lower(), []).append(place)
        self._relaxed: dict[int, bytes] = {}
        self._left_octets = MAX_SIGNED_OCTETS

    def places(self, name: bytes) -> Sequence[int]:
        """Return where the fields of that name are, which is in lower case; from the top."""
        return self._places.get(name, ())

    def value(self, place: int) -> bytes:
        """Return the raw value of a field."""
        return self._fields[place][1]

    def relaxed(self, place: int) -> bytes:
        """Return a field in relaxed form, without the CRLF that ends it."""
        made = self._relaxed.get(place)
        if made is None:
            made = self._relaxed[place] = canonical.field(*self._fields[place])
        return made

    def unsigned(self, place: int, canonicalisation: str = canonical.RELAXED) -> bytes:
        """Return a signature's own field as it was signed: its b= empty, no CRLF at the end (RFC 6376 §3.7)."""
        name, value = self._fields[place]
        form = canonical.field if canonicalisation == canonical.RELAXED else canonical.simple_field
        return form(name, without_b(value))

    def digest(self, place: int, names: Iterable[bytes], canonicalisation: str, hash_name: str) -> bytes:
        """Return the digest that the signature at that place, its h= being `names`, was made over.

        Of several fields of a name the last is the first that is signed (§5.4.2); a field that is not there counts for
        nothing, and a signature never for its own h=. ValueError when too much is signed.
        """
        made = hashlib.new(hash_name)
        left: dict[bytes, list[int]] = {}
        for name in names:
            places = left.get(name)
            if places is None:
                places = left[name] = [each for each in self.places(name) if each != place]
            if places:
                field = self._formed(places.pop(), canonicalisation)
                self.spend(len(field))
                made.update(field + _CRLF)
        made.update(self.unsigned(place, canonicalisation))
        return made.digest()

    def spend(self, octets: int) -> None:
        """Count what is about to be hashed; ValueError when it is more than this message is worth."""
        self._left_octets -= octets
        if self._left_octets < 0:
            raise ValueError("more of the header is signed than is looked at")

    def _formed(self, place: int, canonicalisation: str) -> bytes:
        if canonicalisation == canonical.RELAXED:
            return self.relaxed(place)
        return canonical.simple_field(*self._fields[place])
