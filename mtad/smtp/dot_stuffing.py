"""Content on its way out: dots doubled in bulk, block by block, and the line that ends it (RFC 5321 §4.5.2).

Whoever sends must not make the next server see an end where there is none, so content with a CR or LF that stands alone
is not to be sent at all (RFC 5321 §2.3.8): `mtad.smtp.survey` tells. Lines are never looped over in Python.
"""

from collections.abc import Iterator

DOT = b".\r\n"


def blocks(content: bytes, block_octets: int) -> Iterator[bytes]:
    """Yield content stuffed, in blocks of about that size; it ends in CRLF, added where it is missing."""
    for start in range(0, len(content), block_octets):
        # A dot is doubled behind a CRLF: two octets more show whether the block's first one is. The content follows
        # the CRLF of the reply to DATA's line, so its own first octet is at the beginning of a line.
        before = content[start - 2 : start] if start >= 2 else b"\r\n"[start:] + content[:start]
        block = before + content[start : start + block_octets]
        yield block.replace(b"\r\n.", b"\r\n..")[2:]
    if content and not content.endswith(b"\r\n"):
        yield b"\r\n"
