"""The service extensions mtad offers, and the parameters they add to MAIL (RFC 5321 §2.2).

    PIPELINING           RFC 2920
    SIZE n               RFC 1870
    8BITMIME             RFC 6152
    ENHANCEDSTATUSCODES  RFC 2034
    STARTTLS             RFC 3207

RCPT has no parameters yet. A parameter nobody offered is 555 (RFC 5321 §4.1.1.11); one that is malformed, or given
twice, is 501. Whether a declared size is acceptable is not decided here.
"""

import re
from dataclasses import dataclass, replace

from mtad.model import replies
from mtad.model.reply import Reply

# esmtp-param = esmtp-keyword ["=" esmtp-value] (RFC 5321 §4.1.2)
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([!-<>-~]++))?")
# size-value = 1*20DIGIT (RFC 1870 §4)
_SIZE = re.compile(rb"[0-9]{1,20}")
_BODIES = {b"7BIT": "7BIT", b"8BITMIME": "8BITMIME"}


@dataclass(frozen=True, slots=True)
class MailParameters:
    """What MAIL declared: `size` in octets (RFC 1870 §5), `body` 7BIT or 8BITMIME; None where it said nothing."""

    size: int | None = None
    body: str | None = None


_NONE = MailParameters()


def keywords(max_message_size: int, starttls: bool) -> tuple[str, ...]:
    """Return the EHLO keywords of a server that takes messages of `max_message_size` octets."""
    offered = ("PIPELINING", f"SIZE {max_message_size}", "8BITMIME", "ENHANCEDSTATUSCODES")
    return (*offered, "STARTTLS") if starttls else offered


def mail_parameters(octets: bytes) -> MailParameters | Reply:
    """Read what follows the reverse-path; a reply says what is wrong with it."""
    parameters = _NONE
    for text in octets.split():
        match = _PARAMETER.fullmatch(text)
        if match is None:
            return replies.BAD_ARGUMENTS
        keyword, value = match[1].upper(), match[2] or b""
        if keyword == b"SIZE" and parameters.size is None and _SIZE.fullmatch(value):
            parameters = replace(parameters, size=int(value))
        elif keyword == b"BODY" and parameters.body is None and value.upper() in _BODIES:
            parameters = replace(parameters, body=_BODIES[value.upper()])
        else:
            return replies.BAD_ARGUMENTS if keyword in (b"SIZE", b"BODY") else replies.UNKNOWN_PARAMETER
    return parameters


def rcpt_parameters(octets: bytes) -> Reply | None:
    """Return the reply to what follows the forward-path, None when that is nothing."""
    texts = octets.split()
    if all(_PARAMETER.fullmatch(text) for text in texts):
        return replies.UNKNOWN_PARAMETER if texts else None
    return replies.BAD_ARGUMENTS
