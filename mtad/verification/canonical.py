"""The `relaxed` canonicalisation of fields and bodies (RFC 6376 §3.4.2, §3.4.4).

A body is taken in blocks, and between two of them the caller may let others have their turn: 25 MB take a tenth of a
second. What is held back from one block to the next is bounded whatever the body is: empty lines are counted, not kept.

Content has no lone CR or LF when it comes here (`mtad.smtp.data`); with one the result is some digest, no error.
"""

import hashlib
from collections.abc import Iterator

BLOCK_OCTETS = 64 * 1024
_CRLF = b"\r\n"
_LINE_ENDS = BLOCK_OCTETS // len(_CRLF)


def field(name: bytes, value: bytes) -> bytes:
    """Return a field in canonical form, without the CRLF that ends it."""
    unfolded = value.replace(_CRLF, b"")
    return name.strip(b" \t").lower() + b":" + _single_spaced(unfolded).strip(b" ")


class BodyHash:
    """SHA-256 over a canonical body that comes in any number of pieces."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._has_text = False
        self._line_ends = 0
        self._begun = b""

    def update(self, piece: bytes) -> None:
        """Take the next piece of the body."""
        text = _single_spaced(self._begun + piece).replace(b" " + _CRLF, _CRLF)
        kept = text.rstrip(b" \r\n")
        if kept:
            self._put_line_ends()
            self._hash.update(kept)
            self._has_text = True
        # White space at the end of a line counts for nothing, nor do empty lines at the end of the body; whether this
        # is either only the next piece tells.
        tail = text[len(kept) :]
        self._line_ends += tail.count(_CRLF)
        self._begun = tail.rpartition(_CRLF)[2]

    def digest(self) -> bytes:
        """Return the digest; the body ends here, and so does its last line."""
        if self._has_text:
            self._hash.update(_CRLF)
        return self._hash.digest()

    def _put_line_ends(self) -> None:
        whole, rest = divmod(self._line_ends, _LINE_ENDS)
        for _ in range(whole):
            self._hash.update(_CRLF * _LINE_ENDS)
        self._hash.update(_CRLF * rest)
        self._line_ends = 0


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
