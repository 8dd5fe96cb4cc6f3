"""What a report returns of the original message: its header block, or all of it (RFC 3461 §4.3, RFC 6522 §4).

Seven bits and short lines where that is possible. A header block that has more goes as quoted-printable. A whole
message must not be encoded as long as it is `message/rfc822` (RFC 2046 §5.2.1): it goes with eight bits, and where
not even those will do, as of lines that are too long, as `message/global` in base64, which may be (RFC 6532 §3.7).
What needed SMTPUTF8 goes in the types of RFC 6533.
"""

import re
from binascii import b2a_base64, b2a_qp
from dataclasses import dataclass

MAX_HEADER_OCTETS = 64 * 1024

_BASE64_OCTETS = 57
_SEVEN_BIT_LINES = re.compile(rb"(?:[\t -~]{0,998}+\r\n)*+")
_EIGHT_BIT_LINES = re.compile(rb"(?:[^\r\n\0]{0,998}+\r\n)*+")
_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Returned:
    """A part of a report: its type, how it is encoded, and its octets in that encoding."""

    content_type: str
    description: str
    encoding: str
    octets: bytes


def header_block(block: bytes, smtputf8: bool) -> Returned:
    """Return the part that has a header block, cut between two lines when it is over MAX_HEADER_OCTETS."""
    lines = _ended(_cut(block))
    content_type = "text/rfc822-headers"
    encoding = "7bit"
    if not _SEVEN_BIT_LINES.fullmatch(lines):
        content_type = "message/global-headers" if smtputf8 else content_type
        encoding = "quoted-printable"
        lines = b2a_qp(lines, istext=True)
    return Returned(content_type, "Original message's headers", encoding, lines)


def whole(message: bytes, smtputf8: bool) -> Returned:
    """Return the part that has a whole message."""
    description = "Original message"
    ended = message if message.endswith(b"\r\n") else message + b"\r\n"
    if _SEVEN_BIT_LINES.fullmatch(ended):
        return Returned("message/rfc822", description, "7bit", ended)
    if _EIGHT_BIT_LINES.fullmatch(ended) and not smtputf8:
        return Returned("message/rfc822", description, "8bit", ended)
    lines = (message[start : start + _BASE64_OCTETS] for start in range(0, len(message), _BASE64_OCTETS))
    encoded = b"".join(b2a_base64(line, newline=False) + b"\r\n" for line in lines)
    return Returned("message/global", description, "base64", encoded)


def _cut(block: bytes) -> bytes:
    if len(block) <= MAX_HEADER_OCTETS:
        return block
    begun = block[:MAX_HEADER_OCTETS]
    return begun[: begun.rfind(b"\r\n") + 2] if b"\r\n" in begun else begun


def _ended(lines: bytes) -> bytes:
    """Return lines whose ends are CRLF, the last one's too, whatever they were."""
    return _LINE_END.sub(b"\r\n", lines).removesuffix(b"\r\n") + b"\r\n"
