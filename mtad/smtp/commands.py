"""The events of a server's conversation, and how one command line becomes one of them (RFC 5321 §4.1.1).

The rule: an event is complete and bounded, nothing in it needs parsing again. Content owes no reply, every other event
owes exactly one; `Answered` brings its own. Sequence is `mtad.smtp.states`' concern.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mtad.model import replies
from mtad.model.address import Address
from mtad.model.reply import Reply
from mtad.model.text import shown
from mtad.smtp import extensions, grammar, sasl
from mtad.smtp.sasl import Authenticate, Challenge, Confirm, Proof
from mtad.smtp.scram import Opening
from mtad.smtp.states import Command


class Signal(Enum):
    """Why there is no event: octets are missing, or a reply is owed first."""

    NEED_DATA = "need data"
    PAUSED = "paused"


NEED_DATA: Final = Signal.NEED_DATA
PAUSED: Final = Signal.PAUSED


@dataclass(frozen=True, slots=True)
class Hello:
    """EHLO (`extended`) or HELO: `name` is what the peer calls itself, not checked but fit to be shown."""

    name: str
    extended: bool


@dataclass(frozen=True, slots=True)
class MailFrom:
    """MAIL: `size` is what SIZE= declared, in octets, within the limit; `body` the value of BODY=.

    `auth` tells that it had an AUTH= (RFC 4954 §5), which nobody here is trusted to vouch with.
    """

    reverse_path: Address | None
    size: int | None
    body: str | None
    auth: bool = False


@dataclass(frozen=True, slots=True)
class RcptTo:
    """RCPT."""

    forward_path: Address


@dataclass(frozen=True, slots=True)
class Data:
    """DATA; the reply is `replies.START_DATA`, or why not."""


@dataclass(frozen=True, slots=True)
class Content:
    """The next octets of the message, dot-unstuffed; never empty."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class EndOfData:
    """The message is complete. With a `problem` its Content is not to be used: that is its reply."""

    problem: Reply | None


@dataclass(frozen=True, slots=True)
class StartTls:
    """STARTTLS, offered and not yet in use."""


@dataclass(frozen=True, slots=True)
class Reset:
    """RSET."""


@dataclass(frozen=True, slots=True)
class Quit:
    """QUIT."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A command whose `reply` needs nobody's judgement; `error` when the peer is at fault for it."""

    reply: Reply
    error: bool


LoginStep = Authenticate | Opening | Proof | Confirm
"""A step of AUTH's exchange that is the caller's to answer, with a reply or by going on (`Conversation.ask`)."""

Event = Hello | MailFrom | RcptTo | Data | Content | EndOfData | StartTls | LoginStep | Reset | Quit | Answered


@dataclass(frozen=True, slots=True)
class Setting:
    """What the arguments of commands are read by: our `hostname`, and the mechanisms of AUTH that are offered."""

    hostname: str
    mechanisms: tuple[str, ...]


# RFC 5321 §4.1.4: room for any domain (§4.5.3.1.2); what a name is worth is for policy to say.
_NAME_OCTETS = grammar.DOMAIN_OCTETS


def _hello(argument: bytes, extended: bool) -> Event:
    if not argument or len(argument) > _NAME_OCTETS:
        return Answered(replies.BAD_ARGUMENTS, error=True)
    return Hello(shown(argument), extended)


def _mail(argument: bytes, setting: Setting) -> Event:
    if argument[:5].upper() != b"FROM:":
        return Answered(replies.BAD_ARGUMENTS, error=True)
    path = grammar.reverse_path(argument[5:])
    if isinstance(path, Reply):
        return Answered(path, error=True)
    parameters = extensions.mail_parameters(path.rest)
    if isinstance(parameters, Reply):
        return Answered(parameters, error=True)
    return MailFrom(path.address, parameters.size, parameters.body, parameters.auth)


def _rcpt(argument: bytes, setting: Setting) -> Event:
    if argument[:3].upper() != b"TO:":
        return Answered(replies.BAD_ARGUMENTS, error=True)
    path = grammar.forward_path(argument[3:], setting.hostname)
    if isinstance(path, Reply):
        return Answered(path, error=True)
    wrong = extensions.rcpt_parameters(path.rest)
    if wrong is not None or path.address is None:
        return Answered(wrong or replies.BAD_RECIPIENT_SYNTAX, error=True)
    return RcptTo(path.address)


def _alone(event: Event) -> Callable[[bytes, Setting], Event]:
    """Return the parser of a command that takes no argument (RFC 5321 §4.3.2: 501 to one that came)."""
    return lambda argument, setting: Answered(replies.BAD_ARGUMENTS, error=True) if argument else event


def proven(step: sasl.Step) -> LoginStep | Challenge | Answered:
    """Return what a step of AUTH's exchange means to the session."""
    return Answered(step, error=True) if isinstance(step, Reply) else step


def _vrfy(argument: bytes, setting: Setting) -> Event:
    # RFC 5321 §7.3: nobody is told which addresses exist.
    return Answered(replies.VRFY_CANNOT, error=False) if argument else Answered(replies.BAD_ARGUMENTS, error=True)


VERBS: dict[bytes, tuple[Command, Callable[[bytes, Setting], Event | Challenge]]] = {
    b"EHLO": (Command.HELLO, lambda argument, setting: _hello(argument, extended=True)),
    b"HELO": (Command.HELLO, lambda argument, setting: _hello(argument, extended=False)),
    b"MAIL": (Command.MAIL, _mail),
    b"RCPT": (Command.RCPT, _rcpt),
    b"DATA": (Command.DATA, _alone(Data())),
    b"STARTTLS": (Command.STARTTLS, _alone(StartTls())),
    b"RSET": (Command.RSET, _alone(Reset())),
    b"QUIT": (Command.QUIT, _alone(Quit())),
    b"NOOP": (Command.ASIDE, lambda argument, setting: Answered(replies.OK, error=False)),
    b"VRFY": (Command.ASIDE, _vrfy),
    b"EXPN": (Command.ASIDE, lambda argument, setting: Answered(replies.NOT_IMPLEMENTED, error=True)),
    b"HELP": (Command.ASIDE, lambda argument, setting: Answered(replies.NOT_IMPLEMENTED, error=True)),
    b"AUTH": (Command.AUTH, lambda argument, setting: proven(sasl.begin(argument, setting.mechanisms))),
}
"""By verb: what it means to the session, and the parser of its argument, which is also told the setting."""
