"""The client's side of SMTP and LMTP without I/O: a server's octets in, octets to send and events out.

    conversation = ClientConversation(Dialect.LMTP, "mx.example")
    conversation.receive(b"220 ready\\r\\n")             [Send(b"LHLO mx.example\\r\\n")]
    conversation.receive(b"250 hello\\r\\n")             [Ready()]
    conversation.begin(transaction)                     b"MAIL FROM:<ann@example.org>\\r\\n"
    ...                                                 [SendContent()]
    conversation.end_of_content()                       b".\\r\\n"
    conversation.receive(b"250 ok\\r\\n250 ok\\r\\n")       [Finished((Answer(...), Answer(...)))]

Every reply must answer something that was sent; what waits for its answer is a queue, so commands go out in groups when
the server offers PIPELINING (RFC 2920) and one by one when it does not. LMTP differs from SMTP in the hello and in one
reply for each accepted recipient after the dot (RFC 2033 §4.2). A 421 ends it at any time (RFC 5321 §3.8), and so does
what makes no sense. Timeouts, the content's octets and what follows from the answers are the caller's.

Between hello and Ready there may be STARTTLS and AUTH, as `terms` ask. At StartTls the caller lets the transport begin
TLS and sends what `secured` returns: the hello again. What was offered or sent before TLS is forgotten (RFC 3207 §4.2).
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mtad.model.next_hop import Credentials, Dialect, TlsLevel
from mtad.smtp.answers import CLOSING, Answer, Step
from mtad.smtp.authentication import authentication
from mtad.smtp.dot_stuffing import DOT
from mtad.smtp.reply_reader import BadReply, PeerReply, ReplyReader
from mtad.smtp.transaction import Command, Transaction, commands


@dataclass(frozen=True, slots=True)
class Terms:
    """What must be so before a transaction begins: how much TLS, and who we are to the server."""

    tls: TlsLevel = TlsLevel.NONE
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send these octets."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class StartTls:
    """Begin TLS, then send what `secured` returns."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A transaction may begin."""


@dataclass(frozen=True, slots=True)
class SendContent:
    """Send the content, dots doubled, then what `end_of_content` returns."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The transaction is over: an answer for every recipient, in order."""

    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Closing:
    """The server serves no more, by this answer; close the connection."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Broken:
    """What came makes no sense, and why, fit to be shown; drop the connection. `answers` tells what was decided."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unfit:
    """The server lacks what the terms ask for, and what that is; drop the connection."""

    reason: str


Event = Send | StartTls | Ready | SendContent | Finished | Closing | Broken | Unfit

_HELO = b"HELO"
# These are answered by a 3yz when all is well (RFC 5321 §4.2.1), all others by a 2yz.
_INTERMEDIATE = frozenset({Step.DATA, Step.AUTH_PROMPT})
# These are never sent behind an unanswered command (RFC 3207 §4, RFC 4954 §4).
_ALONE = frozenset({Step.STARTTLS, Step.AUTH_PROMPT, Step.AUTH})


class ClientConversation:
    """One connection's conversation.

    `extensions` is what the server offered in its hello, keyword to parameters; `replies_count` how many replies came.
    """

    def __init__(self, dialect: Dialect, hostname: str, terms: Terms | None = None) -> None:
        self.extensions: dict[str, str] = {}
        self.replies_count = 0
        self._dialect = dialect
        self._hostname = hostname.encode("ascii")
        self._terms = terms or Terms()
        self._secured = False
        self._shaking_hands = False
        self._reader = ReplyReader()
        self._unsent: deque[Command] = deque()
        self._unanswered: deque[Command] = deque([Command(Step.GREETING, b"")])
        self._answers: list[Answer | None] | None = None
        self._accepted: list[int] = []
        self._in_content = False
        self._reset_first = False
        self._closed = False
        self._reactions: dict[Step, Callable[[Command, PeerReply], Iterable[Event]]] = {
            Step.GREETING: self._greeted,
            Step.HELLO: self._welcomed,
            Step.STARTTLS: self._tls_answered,
            Step.AUTH_PROMPT: self._prompted,
            Step.AUTH: self._authenticated,
            Step.RSET: self._reset,
            Step.MAIL: self._sender_answered,
            Step.RCPT: self._recipient_answered,
            Step.DATA: self._data_answered,
            Step.END: self._end_answered,
            Step.QUIT: self._gone,
        }

    @property
    def awaited(self) -> Step | None:
        """What the next reply will answer, None when none is owed."""
        return self._unanswered[0].step if self._unanswered else None

    @property
    def answers(self) -> tuple[Answer | None, ...]:
        """What each recipient of the transaction in hand was answered so far."""
        return tuple(self._answers or ())

    def receive(self, data: bytes) -> list[Event]:
        """Take octets of the server and return what follows, in order; once it closed or broke, nothing does."""
        events: list[Event] = []
        try:
            for reply in () if self._closed or self._shaking_hands else self._reader.feed(data):
                events += self._take(reply)
                if self._closed or self._shaking_hands:
                    break
        except BadReply as bad:
            # What came before it counts: it may be that a message was taken.
            self._closed = True
            self._in_content = False
            events.append(Broken(str(bad)))
        # A server may give up in the same breath as it says 354.
        return events if self._in_content else [event for event in events if not isinstance(event, SendContent)]

    def secured(self) -> bytes:
        """Forget all that came in clear, and return what goes first over TLS (RFC 3207 §4.2)."""
        assert self._shaking_hands, "TLS begins after StartTls"
        self._shaking_hands = False
        self._secured = True
        self._reader = ReplyReader()
        self.extensions = {}
        self._say_hello(self._dialect.value)
        return self._next_commands()

    def begin(self, transaction: Transaction) -> bytes:
        """Return what opens a transaction, once Ready or Finished; ValueError for an address that cannot be said."""
        assert self._answers is None, "one transaction at a time"
        assert self.awaited is None, "a transaction begins when no reply is owed"
        group = list(commands(transaction, self.extensions))
        if self._reset_first:
            group.insert(0, Command(Step.RSET, b"RSET\r\n"))
        self._unsent.extend(group)
        self._answers = [None] * len(transaction.recipients)
        self._accepted = []
        self._reset_first = True
        return self._next_commands()

    def end_of_content(self) -> bytes:
        """Return the dot that goes after the content; from here on the server may have taken the message."""
        assert self._in_content, "the content ends after SendContent"
        self._in_content = False
        self._reset_first = False
        replies = len(self._accepted) if self._dialect is Dialect.LMTP else 1
        self._unanswered.extend(Command(Step.END, b"", n) for n in range(replies))
        return DOT

    def quit(self) -> bytes:
        """Return what takes leave; Closing follows."""
        self._unanswered.append(Command(Step.QUIT, b""))
        return b"QUIT\r\n"

    def _take(self, reply: PeerReply) -> Iterable[Event]:
        self.replies_count += 1
        if not self._unanswered:
            return self._unasked(reply)
        command = self._unanswered.popleft()
        if reply.code == CLOSING:
            return self._close(Answer(command.step, reply))
        if reply.code < 400 and (reply.code >= 300) != (command.step in _INTERMEDIATE):
            raise BadReply(f"{reply.text} makes no sense in reply to {command.step.value}")
        events = [*self._reactions[command.step](command, reply)]
        if octets := self._next_commands():
            events.append(Send(octets))
        return events + self._finished()

    def _unasked(self, reply: PeerReply) -> Iterable[Event]:
        """Tell a server that gives up, even in the middle of the content, from one that talks nonsense."""
        if reply.code == CLOSING or (self._in_content and reply.code >= 400):
            return self._close(Answer(Step.END, reply))
        raise BadReply(f"{reply.text} answers nothing that was asked")

    def _next_commands(self) -> bytes:
        """Return all commands that may go now: the next one, or the whole group (RFC 2920 §3.1)."""
        octets = b""
        pipelining = "PIPELINING" in self.extensions
        while self._unsent and (not self._unanswered or (pipelining and self._unsent[0].step not in _ALONE)):
            command = self._unsent.popleft()
            self._unanswered.append(command)
            octets += command.octets
        return octets

    def _finished(self) -> list[Event]:
        """Return the end of the transaction when nothing more of it is to come."""
        if not self._answers or self._unsent or self._unanswered or self._in_content:
            return []
        answers, self._answers = self._answers, None
        return [Finished(tuple(answer for answer in answers if answer is not None))]

    def _close(self, answer: Answer) -> Iterable[Event]:
        self._closed = True
        self._unsent.clear()
        self._unanswered.clear()
        self._in_content = False
        self._answer_rest(answer)
        return [*self._finished(), Closing(answer)]

    def _answer_rest(self, answer: Answer) -> None:
        """Give every recipient that has no answer this one."""
        if self._answers:
            self._answers = [known or answer for known in self._answers]

    def _greeted(self, _: Command, reply: PeerReply) -> Iterable[Event]:
        if reply.code >= 400:
            return self._close(Answer(Step.GREETING, reply))
        self._say_hello(self._dialect.value)
        return ()

    def _say_hello(self, verb: bytes) -> None:
        self._unsent.append(Command(Step.HELLO, b"%s %s\r\n" % (verb, self._hostname)))

    def _welcomed(self, hello: Command, reply: PeerReply) -> Iterable[Event]:
        if reply.code < 400:
            self.extensions = {} if hello.octets.startswith(_HELO) else _offered(reply)
            if not self._secured and "STARTTLS" in self.extensions and self._terms.tls is not TlsLevel.NONE:
                self._unsent.append(Command(Step.STARTTLS, b"STARTTLS\r\n"))
                return ()
            return self._identified()
        # RFC 5321 §3.2: a server that does not know EHLO is spoken to as of old; LMTP has no other hello.
        if reply.code >= 500 and hello.octets.startswith(Dialect.SMTP.value):
            self._say_hello(_HELO)
            return ()
        return self._close(Answer(Step.HELLO, reply))

    def _tls_answered(self, _: Command, reply: PeerReply) -> Iterable[Event]:
        if reply.code < 400:
            self._shaking_hands = True
            return (StartTls(),)
        return self._close(Answer(Step.STARTTLS, reply)) if self._terms.tls.needed else self._identified()

    def _identified(self) -> Iterable[Event]:
        """Say who we are where the terms want it, once there is as much TLS as there will be."""
        credentials = self._terms.credentials
        if not self._secured and self._terms.tls.needed:
            return self._unfit("it offers no STARTTLS, and nothing may be sent without TLS")
        if credentials is None:
            return (Ready(),)
        if not self._secured and self._terms.tls is not TlsLevel.NONE:
            return self._unfit("there is no TLS, and the password is not sent without it")
        said = authentication(credentials, self.extensions.get("AUTH", ""))
        if not said:
            return self._unfit("it offers neither AUTH PLAIN nor AUTH LOGIN")
        self._unsent.extend(said)
        return ()

    def _unfit(self, reason: str) -> Iterable[Event]:
        self._closed = True
        return (Unfit(reason),)

    def _prompted(self, _: Command, reply: PeerReply) -> Iterable[Event]:
        # The challenge says "Username:" or "Password:" in base64, or something else: the order is what counts.
        return self._close(Answer(Step.AUTH, reply)) if reply.code >= 400 else ()

    def _authenticated(self, _: Command, reply: PeerReply) -> Iterable[Event]:
        return self._close(Answer(Step.AUTH, reply)) if reply.code >= 400 else (Ready(),)

    def _reset(self, _: Command, reply: PeerReply) -> Iterable[Event]:
        return self._close(Answer(Step.RSET, reply)) if reply.code >= 400 else ()

    def _sender_answered(self, _: Command, reply: PeerReply) -> Iterable[Event]:
        if reply.code >= 400:
            self._unsent.clear()
            self._answer_rest(Answer(Step.MAIL, reply))
        return ()

    def _recipient_answered(self, command: Command, reply: PeerReply) -> Iterable[Event]:
        assert self._answers is not None
        if self._answers[command.n] is None:
            if reply.code < 400:
                self._accepted.append(command.n)
            else:
                self._answers[command.n] = Answer(Step.RCPT, reply, alone=True)
        if not self._accepted and [unsent.step for unsent in self._unsent] == [Step.DATA]:
            self._unsent.clear()
        return ()

    def _data_answered(self, _: Command, reply: PeerReply) -> Iterable[Event]:
        if reply.code >= 400:
            self._answer_rest(Answer(Step.DATA, reply))
            return ()
        if not self._accepted:
            # Nothing to send to nobody, and no way back out of the content (RFC 2033 §4.2 asks for a refusal).
            return self._close(Answer(Step.DATA, reply))
        self._in_content = True
        return (SendContent(),)

    def _end_answered(self, command: Command, reply: PeerReply) -> Iterable[Event]:
        if self._dialect is Dialect.SMTP:
            self._answer_rest(Answer(Step.END, reply))
        elif self._answers is not None:
            self._answers[self._accepted[command.n]] = Answer(Step.END, reply, alone=True)
        return ()

    def _gone(self, _: Command, reply: PeerReply) -> Iterable[Event]:
        return self._close(Answer(Step.QUIT, reply))


def _offered(reply: PeerReply) -> dict[str, str]:
    """Return the keywords behind the first line of a hello's reply (RFC 5321 §4.1.1.1); what is none does no harm.

    Servers of old write `AUTH=LOGIN` where RFC 4954 has a space.
    """
    extensions: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, parameters = (*line.decode("ascii", "replace").split(None, 1), "", "")[:2]
        keyword, _, more = keyword.upper().partition("=")
        if keyword and (not more or keyword not in extensions):
            extensions[keyword] = f"{more} {parameters}".strip()
    return extensions
