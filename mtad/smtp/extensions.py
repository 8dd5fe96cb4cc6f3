"""The service extensions mtad offers, and the parameters they add to MAIL and RCPT (RFC 5321 §2.2).

    PIPELINING           RFC 2920
    SIZE n               RFC 1870   MAIL: SIZE=
    8BITMIME             RFC 6152   MAIL: BODY=
    SMTPUTF8             RFC 6531   MAIL: SMTPUTF8
    CHUNKING             RFC 3030
    DSN                  RFC 3461   MAIL: RET=, ENVID=   RCPT: NOTIFY=, ORCPT=
    ENHANCEDSTATUSCODES  RFC 2034
    LIMITS RCPTMAX=n     RFC 9422
    STARTTLS             RFC 3207
    AUTH mechanism…      RFC 4954   MAIL: AUTH=, where the session may log in
    XCLIENT attribute…   Postfix' XCLIENT_README, for proxies

A parameter nobody offered is 555 (RFC 5321 §4.1.1.11); one that is malformed, or given twice, is 501. Whether a
declared size is acceptable is not decided here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mtad.model import replies
from mtad.model.envelope import PLAIN, Parameters
from mtad.model.reply import Reply
from mtad.smtp.grammar import WIDE

# esmtp-param = esmtp-keyword ["=" esmtp-value] (RFC 5321 §4.1.2); esmtp-value =/ UTF8-non-ascii (RFC 6531 §3.3)
_PARAMETER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([!-<>-~\x80-\xff]++))?")
# xtext = *( xchar / hexchar ) (RFC 3461 §4); what it stands for is printable ASCII (RFC 3461 §4.2, §4.4).
_PRINTABLE_XTEXT = r"(?:[!-*,-<>-~]|\+(?:[2-6][0-9A-F]|7[0-9A-E]))+"
# utf-8-addr-xtext = 1*(QCHAR / EmbeddedUnicodeChar) (RFC 6533 §3), here without controls and surrogates.
_CODE_POINT = r"20|2B|3D|5C|[A-F][0-9A-F]|(?!D[89A-F]..\})[1-9A-F][0-9A-F]{2,4}|10[0-9A-F]{4}"
# addr-type = atom (RFC 3461 §4.2)
_ATOM = r"[A-Za-z0-9!#$%&'*/?^_`{|}~-]+"
_CONDITION = "(?:SUCCESS|FAILURE|DELAY)"


def _value(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


def _orcpt(wide: str) -> re.Pattern[str]:
    """Return what ORCPT may be; in an address of type utf-8 (RFC 6533 §3) there may be these characters as well."""
    utf8_address = rf"(?:[!-*,-<>-\[\]-~{wide}]|\\x\{{(?:{_CODE_POINT})\}}|\+(?:[2-6][0-9A-F]|7[0-9A-E]))+"
    utf8_type = "[Uu][Tt][Ff]-8;"
    return re.compile(rf"(?=.{{1,500}}\Z)(?:(?!{utf8_type}){_ATOM};{_PRINTABLE_XTEXT}|{utf8_type}{utf8_address})")


# By keyword, what the value must be; None: there is none.
_OF_MAIL: dict[bytes, re.Pattern[str] | None] = {
    # size-value = 1*20DIGIT (RFC 1870 §4)
    b"SIZE": re.compile("[0-9]{1,20}"),
    b"BODY": _value("7BIT|8BITMIME"),
    b"AUTH": re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+"),
    b"SMTPUTF8": None,
    b"RET": _value("FULL|HDRS"),
    b"ENVID": re.compile(rf"(?=.{{1,100}}\Z){_PRINTABLE_XTEXT}"),
}
_OF_RCPT: dict[bytes, re.Pattern[str] | None] = {
    # RFC 3461 §4.1: NEVER stands alone.
    b"NOTIFY": _value(rf"NEVER|(?!.*(SUCCESS|FAILURE|DELAY).*\1){_CONDITION}(?:,{_CONDITION}){{0,2}}"),
    b"ORCPT": _orcpt(""),
}
_OF_INTERNATIONAL_RCPT = _OF_RCPT | {b"ORCPT": _orcpt(WIDE)}


@dataclass(frozen=True, slots=True)
class MailParameters:
    """What MAIL declared: `size` in octets (RFC 1870 §5), `body` 7BIT or 8BITMIME; None where it said nothing.

    `auth` tells that it had an AUTH= (RFC 4954 §5), whose value is of no use here; `wishes` go on with the message.
    """

    size: int | None = None
    body: str | None = None
    auth: bool = False
    wishes: Parameters = PLAIN


@dataclass(frozen=True, slots=True)
class RcptParameters:
    """What RCPT asked for (RFC 3461 §4.1, §4.2), None where it said nothing."""

    notify: str | None = None
    orcpt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What a session offers beyond what all do: messages of so many octets, and for so many recipients if that is set.

    `starttls` while TLS may be begun, `mechanisms` of AUTH, `attributes` of XCLIENT.
    """

    max_message_size: int
    max_recipients: int | None = None
    starttls: bool = False
    mechanisms: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()


_WISHES = frozenset({b"SMTPUTF8", b"RET", b"ENVID"})
_NONE = MailParameters()
_NOTHING = RcptParameters()


def keywords(offers: Offers) -> tuple[str, ...]:
    """Return the EHLO keywords of a session."""
    offered = ["PIPELINING", f"SIZE {offers.max_message_size}", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN"]
    offered += ["ENHANCEDSTATUSCODES", "HELP"]
    if offers.max_recipients is not None:
        offered.append(f"LIMITS RCPTMAX={offers.max_recipients}")
    if offers.starttls:
        offered.append("STARTTLS")
    if offers.mechanisms:
        offered.append(f"AUTH {' '.join(offers.mechanisms)}")
    if offers.attributes:
        offered.append(f"XCLIENT {' '.join(offers.attributes)}")
    return tuple(offered)


def mail_parameters(octets: bytes) -> MailParameters | Reply:
    """Read what follows the reverse-path; a reply says what is wrong with it."""
    if not octets:
        return _NONE
    found = _read(octets, _OF_MAIL)
    if isinstance(found, Reply):
        return found
    size = found.get(b"SIZE")
    return MailParameters(
        size=None if size is None else int(size),
        body=_upper(found.get(b"BODY")),
        auth=b"AUTH" in found,
        wishes=PLAIN if _WISHES.isdisjoint(found) else _wishes(found),
    )


def _wishes(found: Mapping[bytes, str]) -> Parameters:
    return Parameters(smtputf8=b"SMTPUTF8" in found, ret=_upper(found.get(b"RET")), envid=found.get(b"ENVID"))


def rcpt_parameters(octets: bytes, *, international: bool = False) -> RcptParameters | Reply:
    """Read what follows the forward-path; a reply says what is wrong with it.

    `international` tells that MAIL said SMTPUTF8: ORCPT may have UTF-8 then (RFC 6533 §3).
    """
    if not octets:
        return _NOTHING
    found = _read(octets, _OF_INTERNATIONAL_RCPT if international else _OF_RCPT)
    if isinstance(found, Reply):
        return found
    return RcptParameters(_upper(found.get(b"NOTIFY")), found.get(b"ORCPT"))


def _read(octets: bytes, known: Mapping[bytes, re.Pattern[str] | None]) -> dict[bytes, str] | Reply:
    """Return the values by keyword, each as its pattern has it; without a value it is empty."""
    found: dict[bytes, str] = {}
    for text in octets.split():
        match = _PARAMETER.fullmatch(text)
        if match is None:
            return replies.BAD_ARGUMENTS
        keyword = match[1].upper()
        if keyword not in known:
            return replies.UNKNOWN_PARAMETER
        pattern, value = known[keyword], match[2]
        # What is no UTF-8 becomes surrogates, which match nothing.
        said = "" if value is None else value.decode("utf-8", "surrogateescape")
        if keyword in found or (value is not None if pattern is None else not pattern.fullmatch(said)):
            return replies.BAD_ARGUMENTS
        found[keyword] = said
    return found


def _upper(value: str | None) -> str | None:
    return value and value.upper()
