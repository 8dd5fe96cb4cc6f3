"""What a submitted message lacks and what it must not carry on (RFC 6409 §8, RFC 5322 §3.6).

Date, Message-ID and From are added when they are missing; Bcc and Resent-Bcc go, for their readers are nobody's to know
(RFC 5322 §3.6.3), and so does Return-Path, which only final delivery writes (RFC 5321 §4.4). Nothing else is touched.
The header is searched in bulk, as far as `mtad.message.headers` takes it for one; the body is not touched.
"""

import re
from datetime import UTC, datetime
from email.utils import format_datetime

from mtad.message import headers
from mtad.model.address import Address
from mtad.model.content import Content, behind

# A field ends at a CRLF that no white space follows.
_UNWANTED = re.compile(rb"\r\n(?:bcc|resent-bcc|return-path)[ \t]*+:.*?(?=\r\n(?![ \t]))", re.DOTALL | re.IGNORECASE)


def completed(content: Content, *, printed_id: str, domain: str, now: float, author: Address | None = None) -> Content:
    """Return the content as it goes on.

    A Message-ID it lacks is made of our id and the sender's domain, a From of `author`, if there is one.
    """
    block = headers.block(content)
    kept = _UNWANTED.sub(b"", b"\r\n" + block)[2:]
    added = missing_from(block, author) + _missing(block, printed_id, domain, now)
    return behind(added + kept, content, len(block))


def missing_from(header_block: bytes, author: Address | None) -> bytes:
    """Return the From field that a submission lacks; nothing where it has one, or where its author is not known."""
    if author is None or headers.first(header_block, b"From") is not None:
        return b""
    return f"From: {author}\r\n".encode()


def _missing(block: bytes, printed_id: str, domain: str, now: float) -> bytes:
    added = b""
    if headers.first(block, b"Date") is None:
        added += f"Date: {format_datetime(datetime.fromtimestamp(now, UTC))}\r\n".encode("ascii")
    if headers.first(block, b"Message-ID") is None:
        # An address literal is no domain of RFC 5322 §3.4.1, but as dtext it stands in brackets there as well.
        added += f"Message-ID: <{printed_id}@{domain}>\r\n".encode("ascii")
    return added
