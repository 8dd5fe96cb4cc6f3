"""The header block of a message and its fields, found in bulk (RFC 5322 §2.1, §2.2).

The header block ends at the first empty line, which belongs to neither part; a message that begins with an empty line
has no fields, one without an empty line no body. Octets are returned as they are: nothing is unfolded, decoded or
repaired. A field ends at a CRLF that no white space follows; white space before the colon is taken as RFC 5322 §4.5
has it; a line that is no field is passed over with what it is folded into.

Content has no lone CR or LF when it comes here (`mtad.smtp.data`). It may still be all header: a block is at most
`MAX_OCTETS`, what is made of it is bounded by `MAX_FIELDS`, and work on it is a few scans in C.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import islice

from mtad.model.content import Content, begin, behind

MAX_FIELDS = 2000
"""How many fields of a message are looked at; the rest is content like any other."""

MAX_OCTETS = 1024 * 1024
"""How large a header block may be. Of a larger one so much is told, and it is not taken in (`mtad.policy.content`)."""

_FIELD_END = re.compile(rb"\r\n(?![ \t])")
# field-name = 1*ftext ; ftext = %d33-57 / %d59-126
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:(.*+)", re.DOTALL)
_RAW_FIELD = re.compile(rb"([!-9;-~]++[ \t]*+):(.*+)", re.DOTALL)


def block(content: Content) -> bytes:
    """Return the header block; it keeps the CRLF of its last field."""
    head = begin(content, MAX_OCTETS)
    if head.startswith(b"\r\n"):
        return b""
    end = head.find(b"\r\n\r\n")
    return head if end < 0 else head[: end + 2]


def ends(header_block: bytes) -> bool:
    """Return whether a block is the whole header of its content, and not what fits of a larger one."""
    return len(header_block) < MAX_OCTETS


def body(content: Content, header_block: bytes) -> Content:
    """Return what follows the block of a content and the empty line behind it."""
    return behind(b"", content, len(header_block) + 2)


def split(content: bytes) -> tuple[bytes, bytes]:
    """Return header block and body of a content that is in memory."""
    header_block = block(content)
    return header_block, content[len(header_block) + 2 :]


def fields(header_block: bytes) -> list[tuple[bytes, bytes]]:
    """Return names and raw values of the first `MAX_FIELDS` lines; a value is all between colon and ending CRLF."""
    return _found(_FIELD, header_block)


def raw_fields(header_block: bytes) -> list[tuple[bytes, bytes]]:
    """Return what `fields` does, the names with the white space before their colons: signatures may be over it."""
    return _found(_RAW_FIELD, header_block)


def is_whole(header_block: bytes) -> bool:
    """Return whether `fields` sees all of the block."""
    lines = _FIELD_END.split(header_block, MAX_FIELDS)
    return len(lines) <= MAX_FIELDS or not lines[-1]


def first(header_block: bytes, name: bytes) -> bytes | None:
    """Return the raw value of the first field of that name, in any case; None when there is none."""
    match = _beginning(name.lower()).search(_searchable(header_block))
    if match is None:
        return None
    # The searched octets have a line's end in front that the block has not.
    value_start = match.end() - 2
    end = _FIELD_END.search(header_block, value_start)
    return header_block[value_start : end.start() if end else None]


def count(header_block: bytes, name: bytes) -> int:
    """Return how many fields have that name, in any case, counting no further than `MAX_FIELDS`."""
    found = _beginning(name.lower()).finditer(_searchable(header_block))
    return sum(1 for _ in islice(found, MAX_FIELDS))


def without(header_block: bytes, name: bytes, unwanted: Callable[[bytes], bool]) -> bytes:
    """Return a block without those fields of that name, in any case, whose raw values are unwanted.

    All fields are looked at, however many there are.
    """
    kept = []
    kept_from = 0
    for match in _beginning(name.lower()).finditer(_searchable(header_block)):
        # The searched octets have a line's end in front that the block has not.
        start, value_start = match.start(), match.end() - 2
        end = _FIELD_END.search(header_block, value_start)
        if unwanted(header_block[value_start : end.start() if end else None]):
            kept.append(header_block[kept_from:start])
            kept_from = end.end() if end else len(header_block)
    return b"".join((*kept, header_block[kept_from:]))


def _found(pattern: re.Pattern[bytes], header_block: bytes) -> list[tuple[bytes, bytes]]:
    lines = _FIELD_END.split(header_block, MAX_FIELDS)[:MAX_FIELDS]
    return [(match[1], match[2]) for match in map(pattern.match, lines) if match]


def _searchable(header_block: bytes) -> bytes:
    # A pattern without flags that begins with a literal is what the regex engine searches fastest.
    return b"\r\n" + header_block.lower()


@lru_cache(maxsize=64)
def _beginning(lower_name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"\r\n" + re.escape(lower_name) + rb"[ \t]*+:")
