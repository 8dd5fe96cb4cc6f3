"""The service extensions mtad offers, and the parameters they add to MAIL (RFC 5321 §2.2).

    PIPELINING           RFC 2920
    SIZE n               RFC 1870
    8BITMIME             RFC 6152
    ENHANCEDSTATUSCODES  RFC 2034
    STARTTLS             RFC 3207
    AUTH mechanism…      RFC 4954, where the session may log in

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
# xtext = *( xchar / hexchar ) (RFC 3461 §4)
_XTEXT = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")
_BODIES = {b"7BIT": "7BIT", b"8BITMIME": "8BITMIME"}


@dataclass(frozen=True, slots=True)
class MailParameters:
    """What MAIL declared: `size` in octets (RFC 1870 §5), `body` 7BIT or 8BITMIME; None where it said nothing.

    `auth` tells that it had an AUTH= (RFC 4954 §5), whose value is of no use here.
    """

    size: int | None = None
    body: str | None = None
    auth: bool = False


_NONE = MailParameters()


def keywords(max_message_size: int, starttls: bool, mechanisms: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the EHLO keywords of a server that takes messages of `max_message_size` octets."""
    offered = ["PIPELINING", f"SIZE {max_message_size}", "8BITMIME", "ENHANCEDSTATUSCODES"]
    if starttls:
        offered.append("STARTTLS")
    if mechanisms:
        offered.append(f"AUTH {' '.join(mechanisms)}")
    return tuple(offered)


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
        elif keyword == b"AUTH" and not parameters.auth and _XTEXT.fullmatch(value):
            parameters = replace(parameters, auth=True)
        else:
            return replies.BAD_ARGUMENTS if keyword in (b"SIZE", b"BODY", b"AUTH") else replies.UNKNOWN_PARAMETER
    return parameters


def rcpt_parameters(octets: bytes) -> Reply | None:
    """Return the reply to what follows the forward-path, None when that is nothing."""
    texts = octets.split()
    if all(_PARAMETER.fullmatch(text) for text in texts):
        return replies.UNKNOWN_PARAMETER if texts else None
    return replies.BAD_ARGUMENTS
