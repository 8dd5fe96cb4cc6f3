"""The part of a report that people read: what happened, to whom, and what to do about it.

Plain ASCII in short lines. What a remote server said, and what the original is called, is quoted, escaped and bounded;
of many recipients the first few are told of, all of them are in the part for machines (`mtad.message.dsn`).
"""

from datetime import UTC, datetime
from email.utils import format_datetime
from textwrap import wrap

from mtad.message import headers
from mtad.model.address import path
from mtad.model.report import Action, Fate, Report
from mtad.model.text import shown

TOLD_RECIPIENTS = 20
ASCII_CHARACTERS = 800
_QUOTED_CHARACTERS = 200
_WIDTH = 76
_INDENT = " " * 4

# By subject and detail of the status, then by subject alone (RFC 3463 §3).
_ADVICE = {
    "2.1": "The mailbox takes no messages at present. Reach the recipient by other means.",
    "2.2": "The mailbox is full. Send the message again in some days, or reach the recipient by other means.",
    "2.3": "The message is too large for this recipient. Send it without large attachments.",
    "3.4": "The message is too large for the recipient's server. Send it without large attachments.",
    "4.6": "The address leads in a circle, which only the recipient's administrators can mend. Show them this report.",
    "1": "Look for a mistake in the address, and ask the recipient for the right one if you find none.",
    "2": "Reach the recipient by other means, and tell them of this report.",
    "3": "The recipient's server has trouble of its own. Send the message again later.",
    "4": "Nothing is wrong with your message. Send it again later, or reach the recipient by other means.",
    "6": "The recipient's server cannot take a message of this form. Send it as plain text.",
    "7": "The recipient's server does not want this message. Ask the recipient, or those who look after their mail, to "
    "let it through, and show them this report.",
}
_OTHERWISE = "Show this report to those who look after your mail."
_NO_NEED = {
    Action.DELAYED: "Nothing is wrong with your message, and there is no need to send it again.",
    Action.DELIVERED: "This does not tell whether it was read.",
    Action.RELAYED: "That server does not tell of deliveries: you hear no more unless one fails over there.",
    Action.EXPANDED: "You hear no more of those it goes to, unless you asked to and one of them cannot be served.",
}

_SUBJECTS = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is late",
    Action.DELIVERED: "Your message was delivered",
    Action.RELAYED: "Your message was passed on",
    Action.EXPANDED: "Your message was passed on",
}
_OPENINGS = {
    Action.FAILED: "could not be delivered to {whom}, and will not be tried again for them",
    Action.DELAYED: "could not be delivered to {whom} yet, and is still being tried",
    Action.DELIVERED: "was delivered to {whom}",
    Action.RELAYED: "was passed on to the mail server of {whom}",
    Action.EXPANDED: "was passed on to those whom {whom} stands for",
}


def text(report: Report) -> str:
    """Return the notice, its lines ended by CRLF."""
    told = report.fates[:TOLD_RECIPIENTS]
    paragraphs = [wrap(_opening(report), _WIDTH), *_original(report)]
    paragraphs += [_recipient(each, report.action) for each in told]
    if left := len(report.fates) - len(told):
        paragraphs.append(
            wrap(f"So it is with {left} more, which are listed in the second part of this report.", _WIDTH)
        )
    paragraphs.append(wrap(f"Your message is known here as {report.original_id}.", _WIDTH))
    return "\r\n\r\n".join("\r\n".join(lines) for lines in paragraphs) + "\r\n"


def subject(report: Report) -> str:
    """Return what the report is called."""
    return _SUBJECTS[report.action]


def date(at: float) -> str:
    """Return a time (epoch seconds) as RFC 5322 §3.3 writes it, in UTC."""
    return format_datetime(datetime.fromtimestamp(at, UTC))


def ascii_line(words: str) -> str:
    """Return anybody's words as one printable line of at most ASCII_CHARACTERS characters of ASCII."""
    return shown(words).encode("ascii", "backslashreplace").decode()[:ASCII_CHARACTERS]


def _opening(report: Report) -> str:
    count = len(report.fates)
    whom = "one recipient" if count == 1 else f"{count} recipients"
    return (
        f"This is the mail server {report.reporting_host}. Your message that arrived here on {date(report.arrived_at)} "
        f"{_OPENINGS[report.action].format(whom=whom)}."
    )


def _original(report: Report) -> list[list[str]]:
    """Return what its sender knows the message by: its own subject and date, as they came."""
    lines: list[str] = []
    for name in ("Subject", "Date"):
        value = headers.first(report.original_headers, name.encode()) or b""
        words = ascii_line(b" ".join(value.split()).decode("utf-8", "replace"))[:_QUOTED_CHARACTERS]
        if words:
            lines += wrap(f"{name}: {words}", _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT * 2)
    return [lines] if lines else []


def _recipient(fate: Fate, action: Action) -> list[str]:
    sentences = [f"What happened: {fate.reason}."]
    if fate.retry_until is not None:
        sentences.append(f"It is tried again until {date(fate.retry_until)}.")
    if fate.diagnostic:
        sentences.append(f"The last attempt ended with: {ascii_line(fate.diagnostic)}")
    sentences.append(f"What you can do: {_advice(fate.status)}" if action is Action.FAILED else _NO_NEED[action])
    lines = [ascii_line(path(fate.recipient))]
    for sentence in sentences:
        lines += wrap(sentence, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT * 2)
    return lines


def _advice(status: str) -> str:
    _, _, rest = status.partition(".")
    return _ADVICE.get(rest) or _ADVICE.get(rest.partition(".")[0], _OTHERWISE)
