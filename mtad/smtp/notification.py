"""What a sender asked to be told, handed on to a server that offers DSN (RFC 3461 §5.2.1).

The parameters go on as they came. They were stored, and what was stored may be anything: what is not in the form of RFC
3461 §4 is not said. A report is about no other report, so where the reverse-path is null little is asked for (§6.1).
Who reports when the next server does not offer DSN is not decided here.
"""

import re

from mtad.model.address import Address
from mtad.model.envelope import Parameters, Recipient

_NEVER = "NEVER"
_RET = frozenset({"FULL", "HDRS"})
# notify-esmtp-value = "NEVER" / 1#notify-list-element
_NOTIFY = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}")
# RFC 3461 §4: xtext = *( xchar / hexchar ); §4.4: an ENVID has at most 100 characters; §4.2: an ORCPT at most 500.
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_ENVID = re.compile(f"{_XTEXT}{{1,100}}")
_ORCPT = re.compile(rf"[!-*,-:<>-~]+;{_XTEXT}+")
_ORCPT_CHARACTERS = 500
_UTF_8 = "utf-8;"


def mail_parameters(reverse_path: Address | None, parameters: Parameters) -> list[str]:
    """Return RET= and ENVID= as the sender gave them; neither for a report."""
    if reverse_path is None:
        return []
    said = []
    if parameters.ret in _RET:
        said.append(f"RET={parameters.ret}")
    if parameters.envid is not None and _ENVID.fullmatch(parameters.envid):
        said.append(f"ENVID={parameters.envid}")
    return said


def recipient_parameters(reverse_path: Address | None, recipient: Recipient) -> list[str]:
    """Return NOTIFY= and ORCPT= of a recipient.

    Where NOTIFY was given without ORCPT, the address that was given with it goes along: so a report from further on
    names what the sender knows. Of a report, all that can be wanted is that it causes none.
    """
    said = []
    notify = recipient.notify
    if notify is not None and _NOTIFY.fullmatch(notify) and (reverse_path is not None or notify == _NEVER):
        said.append(f"NOTIFY={notify}")
    orcpt = recipient.orcpt
    if orcpt is None and said:
        orcpt = original_recipient(recipient.original)
    if orcpt is not None:
        orcpt = _in_ascii(orcpt)
        if len(orcpt) <= _ORCPT_CHARACTERS and _ORCPT.fullmatch(orcpt):
            said.append(f"ORCPT={orcpt}")
    return said


def original_recipient(address: Address) -> str:
    """Return an address as a value of ORCPT= (RFC 3461 §4.2, RFC 6533 §3)."""
    text = str(address)
    if text.isascii():
        return f"rfc822;{_xtext(text)}"
    return _UTF_8 + re.sub(r"[^!-~]|[+=\\]", lambda match: f"\\x{{{ord(match[0]):X}}}", text)


def _xtext(text: str) -> str:
    return re.sub("[^!-~]|[+=]", lambda match: f"+{ord(match[0]):02X}", text)


def _in_ascii(orcpt: str) -> str:
    """Return an ORCPT whose address is in UTF-8 in the form that goes everywhere (RFC 6533 §3: utf-8-addr-xtext)."""
    if orcpt.isascii() or not orcpt.lower().startswith(_UTF_8):
        return orcpt
    return re.sub(r"[^\x00-\x7f]", lambda match: f"\\x{{{ord(match[0]):X}}}", orcpt)
