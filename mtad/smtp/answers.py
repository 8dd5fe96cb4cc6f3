"""What a server's reply means for a recipient: whose fault, and whether to try again (RFC 5321 §4.2.1).

A refusal of the session, a 421, a 4yz to MAIL and anything that makes no sense are the host's trouble and temporary:
another host of the destination may do better. Only a 5yz to a command of the transaction is final.
"""

from dataclasses import dataclass
from enum import Enum

from mtad.model.outcome import Deferred, Delivered, Failed, Outcome, Scope
from mtad.smtp.reply_reader import PeerReply


class Step(Enum):
    """What a reply answers."""

    # Tables are asked by it several times a reply; the hash that Enum has is not C.
    __hash__ = object.__hash__

    GREETING = "the connection"
    HELLO = "the greeting"
    STARTTLS = "STARTTLS"
    AUTH_PROMPT = "AUTH LOGIN"
    AUTH = "AUTH"
    RSET = "RSET"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    END = "the end of data"
    QUIT = "QUIT"


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply that decided about a recipient, what it answered, and whether it was for that recipient alone."""

    step: Step
    reply: PeerReply
    alone: bool = False


CLOSING = 421
_TRANSACTION = frozenset({Step.MAIL, Step.RCPT, Step.DATA, Step.END})
_INSUFFICIENT = 552
_TOO_MANY_RECIPIENTS = "5.5.3"


def outcome_of(answer: Answer) -> Outcome:
    """Return how an attempt ended for a recipient that was answered so."""
    reply = answer.reply
    if reply.code < 300:
        return Delivered(reply.text, reply.status)
    detail = f"{reply.text} (in reply to {answer.step.value})"
    scope = Scope.RECIPIENT if answer.alone else Scope.MESSAGE
    if reply.code == CLOSING or answer.step not in _TRANSACTION:
        scope = Scope.HOST
    elif reply.code >= 500 and not (answer.step is Step.RCPT and _means_too_many(reply)):
        return Failed(detail, scope, reply.status, told=reply.text)
    elif answer.step is Step.MAIL:
        scope = Scope.HOST
    return Deferred(detail, scope, f"4{reply.status[1:]}", told=reply.text)


def _means_too_many(reply: PeerReply) -> bool:
    # RFC 5321 §4.5.3.1.10: an old server's 552 to RCPT means 452, more recipients than it takes at once.
    return reply.code == _INSUFFICIENT and reply.status in ("5.0.0", _TOO_MANY_RECIPIENTS)
