"""Content on its way out: dots doubled in bulk, block by block, and the line that ends it (RFC 5321 §4.5.2).

Whoever sends must not make the next server see an end where there is none, so content with a CR or LF that stands alone
is not to be sent at all (RFC 5321 §2.3.8): `mtad.smtp.survey` tells. Lines are never looped over in Python.
"""

from collections.abc import Iterable, Iterator

DOT = b".\r\n"


def stuffed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield content stuffed, in blocks as it comes; it ends in CRLF, added where it is missing.

    No block is taken before the one before it was asked for in its stuffed form.
    """
    # A dot is doubled behind a CRLF: two octets more show whether the block's first one is. The content follows the
    # CRLF of the reply to DATA's line, so its own first octet is at the beginning of a line.
    before = b"\r\n"
    empty = True
    for block in blocks:
        yield (before + block).replace(b"\r\n.", b"\r\n..")[2:]
        before = (before + block)[-2:] if len(block) < len(before) else block[-2:]
        empty = empty and not block
    if not empty and before != b"\r\n":
        yield b"\r\n"
