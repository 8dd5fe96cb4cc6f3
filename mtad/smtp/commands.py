"""The events of a server's conversation, and how one command line becomes one of them (RFC 5321 §4.1.1).

The rule: an event is complete and bounded, nothing in it needs parsing again. Content and Chunk owe no reply, every
other event owes exactly one; `Answered` brings its own. Sequence is `mtad.smtp.states`' concern, and where a chunk
ends `mtad.smtp.chunking`'s.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mtad.model import replies
from mtad.model.address import Address
from mtad.model.envelope import PLAIN, Parameters
from mtad.model.reply import Reply
from mtad.model.text import shown
from mtad.smtp import chunking, extensions, grammar, sasl, xclient
from mtad.smtp.chunking import Chunk
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

    `auth` tells that it had an AUTH= (RFC 4954 §5), which nobody here is trusted to vouch with. `parameters` are for
    whoever the message goes to.
    """

    reverse_path: Address | None
    size: int | None
    body: str | None
    auth: bool = False
    parameters: Parameters = PLAIN


@dataclass(frozen=True, slots=True)
class RcptTo:
    """RCPT: `notify` and `orcpt` are the values of NOTIFY= and ORCPT=, as `mtad.model.envelope.Recipient` has them."""

    forward_path: Address
    notify: str | None = None
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """DATA; the reply is `replies.START_DATA`, or why not."""


@dataclass(frozen=True, slots=True)
class Content:
    """The next octets of the message, as they are kept; never empty."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class EndOfData:
    """The message is complete. With a `problem` its Content is not to be used: that is its reply.

    `longest_line` is the length in octets of its longest line over 998 (RFC 5321 §4.5.3.1.6), 0 without any. A message
    in chunks ends at the first one that has a problem.
    """

    problem: Reply | None
    longest_line: int = 0


@dataclass(frozen=True, slots=True)
class StartTls:
    """STARTTLS, offered and not yet in use."""


@dataclass(frozen=True, slots=True)
class XClient:
    """XCLIENT: what a proxy says of whom it speaks for (`mtad.smtp.xclient`); a positive reply begins anew."""

    attributes: Mapping[str, str]


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

Message = Data | Chunk | Content | EndOfData
Event = Hello | MailFrom | RcptTo | Message | StartTls | LoginStep | XClient | Reset | Quit | Answered


@dataclass(frozen=True, slots=True)
class Setting:
    """What the arguments of commands are read by: our `hostname`, and the mechanisms of AUTH that are offered.

    `international` tells that MAIL said SMTPUTF8.
    """

    hostname: str
    mechanisms: tuple[str, ...]
    international: bool = False


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
    if path.international and not parameters.wishes.smtputf8:
        return Answered(replies.NON_ASCII_ADDRESS, error=True)
    return MailFrom(path.address, parameters.size, parameters.body, parameters.auth, parameters.wishes)


def _rcpt(argument: bytes, setting: Setting) -> Event:
    if argument[:3].upper() != b"TO:":
        return Answered(replies.BAD_ARGUMENTS, error=True)
    path = grammar.forward_path(argument[3:], setting.hostname)
    if isinstance(path, Reply):
        return Answered(path, error=True)
    if path.international and not setting.international:
        return Answered(replies.NON_ASCII_ADDRESS, error=True)
    parameters = extensions.rcpt_parameters(path.rest, international=setting.international)
    if isinstance(parameters, Reply):
        return Answered(parameters, error=True)
    if path.address is None:
        return Answered(replies.BAD_RECIPIENT_SYNTAX, error=True)
    return RcptTo(path.address, parameters.notify, parameters.orcpt)


def _alone(event: Event) -> Callable[[bytes, Setting], Event]:
    """Return the parser of a command that takes no argument (RFC 5321 §4.3.2: 501 to one that came)."""
    return lambda argument, setting: Answered(replies.BAD_ARGUMENTS, error=True) if argument else event


def proven(step: sasl.Step) -> LoginStep | Challenge | Answered:
    """Return what a step of AUTH's exchange means to the session."""
    return Answered(step, error=True) if isinstance(step, Reply) else step


def _bdat(argument: bytes, setting: Setting) -> Event:
    chunk = chunking.parse(argument)
    return Answered(chunk, error=True) if isinstance(chunk, Reply) else chunk


def _xclient(argument: bytes, setting: Setting) -> Event:
    attributes = xclient.parse(argument)
    return Answered(attributes, error=True) if isinstance(attributes, Reply) else XClient(attributes)


def _vrfy(argument: bytes, setting: Setting) -> Event:
    # RFC 5321 §7.3: nobody is told which addresses exist.
    return Answered(replies.VRFY_CANNOT, error=False) if argument else Answered(replies.BAD_ARGUMENTS, error=True)


VERBS: dict[bytes, tuple[Command, Callable[[bytes, Setting], Event | Challenge]]] = {
    b"EHLO": (Command.HELLO, lambda argument, setting: _hello(argument, extended=True)),
    b"HELO": (Command.HELLO, lambda argument, setting: _hello(argument, extended=False)),
    b"MAIL": (Command.MAIL, _mail),
    b"RCPT": (Command.RCPT, _rcpt),
    b"DATA": (Command.DATA, _alone(Data())),
    b"BDAT": (Command.BDAT, _bdat),
    b"STARTTLS": (Command.STARTTLS, _alone(StartTls())),
    b"XCLIENT": (Command.XCLIENT, _xclient),
    b"RSET": (Command.RSET, _alone(Reset())),
    b"QUIT": (Command.QUIT, _alone(Quit())),
    b"NOOP": (Command.ASIDE, lambda argument, setting: Answered(replies.OK, error=False)),
    b"VRFY": (Command.ASIDE, _vrfy),
    b"EXPN": (Command.ASIDE, lambda argument, setting: Answered(replies.NOT_IMPLEMENTED, error=True)),
    b"HELP": (Command.ASIDE, lambda argument, setting: Answered(replies.HELP, error=False)),
    b"AUTH": (Command.AUTH, lambda argument, setting: proven(sasl.begin(argument, setting.mechanisms))),
}
"""By verb: what it means to the session, and the parser of its argument, which is also told the setting."""
