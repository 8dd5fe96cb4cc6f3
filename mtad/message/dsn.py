"""A report to a sender as a message: the multipart/report of RFC 6522 with the status part of RFC 3464.

Three parts: a notice for people (`mtad.message.notice`), the status for machines, and the original or its header block
(`mtad.message.returned`). It is 7-bit, unless it returns a whole message that is not, and its lines are short, whatever
the original, its sender and the remote servers said: their words are escaped into one line each. Nobody's words can
begin a field or a part of their own. Addresses that are not ASCII are written as RFC 6533 §3 has it for seven bits.

Who gets a report, and when, is not decided here.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import count

from mtad.message import headers, notice, returned
from mtad.message.notice import ASCII_CHARACTERS, ascii_line, date
from mtad.message.returned import Returned
from mtad.model.report import Action, Fate, Report

_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII)
_CLASSES = {Action.FAILED: "5", Action.DELAYED: "4"}
# What an SMTP or LMTP server answered, behind what we say of the server.
_REPLY = re.compile(r"(?:\A|: )([245]\d\d[ -].*)", re.ASCII)
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]{1,40}")
# RFC 3461 §4: hexchar = ASCII "+" immediately followed by two upper case hexadecimal digits
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
_MESSAGE_ID = re.compile(rb"\s*(<[!-;=?-~]{1,250}>)\s*")
_PRINTABLE = re.compile(r"[ -~]{1,400}")


def build(report: Report) -> bytes:
    """Return the octets of the report."""
    parts = [_part("text/plain; charset=us-ascii", "Notification", notice.text(report).encode("ascii"))]
    parts.append(_part("message/delivery-status", "Delivery report", _status(report)))
    original = _original(report)
    if original is not None:
        parts.append(_part(original.content_type, original.description, original.octets, original.encoding))
    boundary = _boundary(report.id, parts)
    delimiter = b"--" + boundary
    body = b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts)
    eight_bit = original is not None and original.encoding == "8bit"
    return _head(report, boundary.decode(), eight_bit) + b"\r\n" + body + delimiter + b"--\r\n"


def message_id(report: Report) -> str:
    """Return the Message-ID of the report."""
    return f"<{report.id}@{report.reporting_host}>"


def _head(report: Report, boundary: str, eight_bit: bool) -> bytes:
    sender = str(report.sender)
    to = f"<{sender}>" if _PRINTABLE.fullmatch(sender) else "undisclosed-recipients:;"
    fields = [
        # A human who looks after this server reads its postmaster's mail (RFC 3464 §2).
        f"From: Mail Delivery System <postmaster@{report.reporting_host}>",
        f"To: {to}",
        f"Subject: {notice.subject(report)}",
        f"Date: {date(report.written_at)}",
        f"Message-ID: {message_id(report)}",
        *_thread(report.original_headers),
        "Auto-Submitted: auto-replied",  # nobody's programme is to answer this (RFC 3834 §5)
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"',
        *(["Content-Transfer-Encoding: 8bit"] if eight_bit else []),
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
    named = [] if report.envid is None else [f"Original-Envelope-Id: {ascii_line(_decoded(report.envid))}"]
    message = [
        *named,
        f"Reporting-MTA: dns; {report.reporting_host}",
        f"X-mtad-Queue-ID: {report.original_id}",
        f"Arrival-Date: {date(report.arrived_at)}",
    ]
    groups: list[Sequence[str]] = [message, *(list(_recipient(each, report.action)) for each in report.fates)]
    return "\r\n".join("".join(f"{line}\r\n" for line in group) for group in groups).encode("ascii")


def _recipient(fate: Fate, action: Action) -> Iterator[str]:
    status = fate.status
    if fate.orcpt is not None and (original := _original_recipient(fate.orcpt)):
        yield f"Original-Recipient: {original}"
    yield f"Final-Recipient: {_typed(str(fate.recipient))}"
    yield f"Action: {action.value}"
    yield f"Status: {status if _STATUS.fullmatch(status) else _CLASSES.get(action, '2') + '.0.0'}"
    if fate.remote_host is not None:
        yield f"Remote-MTA: dns; {ascii_line(fate.remote_host)}"
    if fate.diagnostic:
        yield f"Diagnostic-Code: {_diagnostic(fate.diagnostic)}"
    if fate.attempted_at is not None:
        yield f"Last-Attempt-Date: {date(fate.attempted_at)}"
    if fate.retry_until is not None:
        yield f"Will-Retry-Until: {date(fate.retry_until)}"


def _original_recipient(orcpt: str) -> str:
    """Return an ORCPT as RFC 3464 §2.3.1 writes it, empty when it is none."""
    address_type, semicolon, address = orcpt.partition(";")
    if not semicolon or not address or not _ADDRESS_TYPE.fullmatch(address_type):
        return ""
    if address_type.lower() == "utf-8":
        # RFC 6533 §3: what is ASCII in it is in the form for seven bits already.
        words = "".join(letter if letter.isascii() else f"\\x{{{ord(letter):X}}}" for letter in address)
    else:
        words = _decoded(address)
    return f"{address_type}; {ascii_line(words)}"


def _decoded(xtext: str) -> str:
    """Return what an xtext stands for (RFC 3461 §4)."""
    octets = _HEXCHAR.sub(lambda match: bytes((int(match[1], 16),)), xtext.encode("utf-8", "backslashreplace"))
    return octets.decode("utf-8", "backslashreplace")


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


def _original(report: Report) -> Returned | None:
    """Return what is returned of the original; None when nothing is known of it."""
    if report.original is not None:
        return returned.whole(report.original, report.smtputf8)
    return returned.header_block(report.original_headers, report.smtputf8) if report.original_headers else None


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
