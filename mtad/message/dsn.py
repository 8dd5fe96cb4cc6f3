"""A report of failed delivery as a message: the multipart/report of RFC 6522 with the status part of RFC 3464.

Three parts: a notice for people (`mtad.message.notice`), the status for machines, and the original's header block. The
whole is 7-bit and its lines are short, whatever the original and the remote servers said: their words are escaped into
one line each, and a header block that is not plain ASCII goes as quoted-printable, which RFC 6522 §4 allows. Nobody's
words can begin a field or a part of their own.

Who gets a report, and when, is not decided here.
"""

import re
from binascii import b2a_qp
from collections.abc import Iterator, Sequence
from itertools import count

from mtad.message import headers, notice
from mtad.message.notice import ASCII_CHARACTERS, ascii_line, date
from mtad.model.report import Report, Undelivered

MAX_HEADER_OCTETS = 64 * 1024

_STATUS = re.compile(r"[45]\.\d{1,3}\.\d{1,3}", re.ASCII)
# What an SMTP or LMTP server answered, behind what we say of the server.
_REPLY = re.compile(r"(?:\A|: )([45]\d\d[ -].*)", re.ASCII)
_MESSAGE_ID = re.compile(rb"\s*(<[!-;=?-~]{1,250}>)\s*")
_PRINTABLE = re.compile(r"[ -~]{1,400}")
_SEVEN_BIT_LINES = re.compile(rb"(?:[\t -~]{0,998}+\r\n)*+")
_LINE_END = re.compile(rb"\r\n|\r|\n")


def build(report: Report) -> bytes:
    """Return the octets of the report."""
    parts = [_part("text/plain; charset=us-ascii", "Notification", notice.text(report).encode("ascii"))]
    parts.append(_part("message/delivery-status", "Delivery report", _status(report)))
    if report.original_headers:
        parts.append(_original(report.original_headers))
    boundary = _boundary(report.id, parts)
    delimiter = b"--" + boundary
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts)
    return _head(report, boundary.decode()) + b"\r\n" + body + delimiter + b"--\r\n"


def message_id(report: Report) -> str:
    """Return the Message-ID of the report."""
    return f"<{report.id}@{report.reporting_host}>"


def _head(report: Report, boundary: str) -> bytes:
    sender = str(report.sender)
    to = f"<{sender}>" if _PRINTABLE.fullmatch(sender) else "undisclosed-recipients:;"
    fields = [
        # A human who looks after this server reads its postmaster's mail (RFC 3464 §2).
        f"From: Mail Delivery System <postmaster@{report.reporting_host}>",
        f"To: {to}",
        "Subject: Your message could not be delivered",
        f"Date: {date(report.written_at)}",
        f"Message-ID: {message_id(report)}",
        *_thread(report.original_headers),
        "Auto-Submitted: auto-replied",  # nobody's programme is to answer this (RFC 3834 §5)
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
    ]
    return "".join(f"{field}\r\n" for field in fields).encode("ascii")


def _thread(original_headers: bytes) -> list[str]:
    """Return the fields that put the report beside the original, when that has a Message-ID fit to be repeated."""
    match = _MESSAGE_ID.fullmatch(headers.first(original_headers, b"Message-ID") or b"")
    if not match:
        return []
    original = match[1].decode("ascii")
    return [f"In-Reply-To: {original}", f"References: {original}"]


def _status(report: Report) -> bytes:
    """Return the fields of RFC 3464 §2: those of the message, then a group for each recipient."""
    message = [
        f"Reporting-MTA: dns; {report.reporting_host}",
        f"X-mtad-Queue-ID: {report.original_id}",
        f"Arrival-Date: {date(report.arrived_at)}",
    ]
    groups: list[Sequence[str]] = [message, *(list(_recipient(each)) for each in report.undelivered)]
    return "\r\n".join("".join(f"{line}\r\n" for line in group) for group in groups).encode("ascii")


def _recipient(undelivered: Undelivered) -> Iterator[str]:
    status = undelivered.status
    yield f"Final-Recipient: {_typed(str(undelivered.recipient))}"
    yield "Action: failed"
    yield f"Status: {status if _STATUS.fullmatch(status) else '5.0.0'}"
    if undelivered.remote_host is not None:
        yield f"Remote-MTA: dns; {ascii_line(undelivered.remote_host)}"
    if undelivered.diagnostic:
        yield f"Diagnostic-Code: {_diagnostic(undelivered.diagnostic)}"
    if undelivered.attempted_at is not None:
        yield f"Last-Attempt-Date: {date(undelivered.attempted_at)}"


def _diagnostic(diagnostic: str) -> str:
    """Return a reply of the remote as `smtp`, anything else as words of ours."""
    reply = _REPLY.search(diagnostic)
    return f"smtp; {ascii_line(reply[1])}" if reply else f"X-mtad; {ascii_line(diagnostic)}"


def _typed(address: str) -> str:
    """Return an address with its type; one that is not ASCII as RFC 6533 §3 writes it where 8 bits are not possible."""
    if address.isascii():
        return f"rfc822; {ascii_line(address)}"
    letters = [
        letter if "!" <= letter <= "~" and letter not in "\\+=" else f"\\x{{{ord(letter):X}}}" for letter in address
    ]
    return f"utf-8; {''.join(letters)[:ASCII_CHARACTERS]}"


def _original(header_block: bytes) -> bytes:
    block = header_block[:MAX_HEADER_OCTETS]
    if len(header_block) > MAX_HEADER_OCTETS:
        block = block[: block.rfind(b"\r\n") + 2] if b"\r\n" in block else block
    lines = _LINE_END.sub(b"\r\n", block).removesuffix(b"\r\n") + b"\r\n"
    if _SEVEN_BIT_LINES.fullmatch(lines):
        return _part("text/rfc822-headers", "Undelivered message's headers", lines)
    quoted = b2a_qp(lines, istext=True)
    return _part("text/rfc822-headers", "Undelivered message's headers", quoted, "quoted-printable")


def _part(content_type: str, description: str, content: bytes, encoding: str = "7bit") -> bytes:
    head = (
        f"Content-Type: {content_type}\r\nContent-Description: {description}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode("ascii") + content


def _boundary(printed_id: str, parts: Sequence[bytes]) -> bytes:
    """Return a boundary that occurs in no part (RFC 2046 §5.1.1): ids may be guessed, and used to forge a part."""
    boundaries = (f"report-{printed_id}-{number}".encode("ascii") for number in count())
    return next(boundary for boundary in boundaries if not any(boundary in part for part in parts))
