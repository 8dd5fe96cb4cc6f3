"""The server's side of an SMTP session without I/O: octets in, events out, one reply each (RFC 5321).

`receive_data` takes what arrived, `next_event` gives what it means. While a reply is owed `next_event` says PAUSED and
what arrives waits, so pipelined commands are answered in order however long each answer takes (RFC 2920 §3.2). A reply
moves the session by the table of `mtad.smtp.states`, and only here.

It knows what the protocol alone can know and answers that itself (`Answered`); who may send what to whom it leaves to
the caller. It never waits, logs or closes anything. What is buffered is the caller's to bound: it stops reading from
the peer while `buffered_octets` is large.
"""

from dataclasses import replace

from mtad.model import replies
from mtad.model.reply import Reply
from mtad.smtp import extensions, sasl, states, timeouts, xclient
from mtad.smtp.chunking import FAR_TOO_LARGE_FACTOR, Chunk
from mtad.smtp.commands import (
    NEED_DATA,
    PAUSED,
    VERBS,
    Answered,
    Content,
    EndOfData,
    Event,
    Hello,
    LoginStep,
    MailFrom,
    Setting,
    Signal,
    XClient,
    proven,
)
from mtad.smtp.intake import Intake
from mtad.smtp.lines import LINE_OCTETS, Arrived, Overlong
from mtad.smtp.sasl import Challenge, Login
from mtad.smtp.states import Command, State

_DEAF = (State.SECURING, State.CLOSED)
_Exchange = LoginStep | Challenge
_IN_CONTENT = (State.DATA, State.CHUNK, State.CHUNKS)
# A pipelining peer sends RCPT and DATA before it can know that what they build on was refused (RFC 2920 §3.1).
_NO_FAULT = (replies.MAIL_FIRST, replies.NO_RECIPIENTS)
MAX_FAILED_LOGINS = 3
MAX_REFUSED_RECIPIENTS = 100
"""How many recipients of a session may be refused for good: more is no list with dead addresses, but who asks for them.

Those who have a list with more of them come again, and have the answers to so many already.
"""


class Conversation:
    """One session. `max_message_size` is in octets; `starttls` says whether TLS can be started.

    `login` says how the peer may log in; None: not at all, and MAIL needs no login. `max_recipients` of a transaction
    are told when set, and `xclient` lets the peer speak for another.
    """

    def __init__(
        self,
        *,
        hostname: str,
        max_message_size: int,
        starttls: bool,
        login: Login | None = None,
        max_recipients: int | None = None,
        xclient: bool = False,
    ) -> None:
        self._setting = Setting(hostname, sasl.mechanisms(channel_binding=False))
        self._max_message_size = max_message_size
        self._starttls = starttls
        self._login = login
        self._max_recipients = max_recipients
        self._xclient = xclient
        self._challenge: Challenge | None = None
        self._authenticated = False
        self._failed_logins = 0
        self._state = State.CONNECTED
        self._owed: tuple[Command, Event] | None = None
        self._arrived = Arrived()
        self._intake = Intake(max_message_size)
        self._esmtp = False
        self._tls = False
        self._error_count = 0
        self._refused_recipients = 0

    @property
    def esmtp(self) -> bool:
        """Whether the peer greeted with EHLO."""
        return self._esmtp

    @property
    def tls(self) -> bool:
        """Whether the session is under TLS."""
        return self._tls

    @property
    def authenticated(self) -> bool:
        """Whether the peer logged in (RFC 4954 §6); only TLS that begins makes that forgotten."""
        return self._authenticated

    @property
    def error_count(self) -> int:
        """How many commands so far were the peer's own fault (`Answered.error`)."""
        return self._error_count

    @property
    def content_problem(self) -> Reply | None:
        """Why the message that is coming in will be refused, as far as is known; None when none is coming in."""
        return self._intake.soundness.problem if self._state in _IN_CONTENT else None

    @property
    def buffered_octets(self) -> int:
        """How much arrived and is not read yet."""
        return len(self._arrived)

    @property
    def timeout_seconds(self) -> float:
        """How long the peer may be silent while something is expected of it (RFC 5321 §4.5.3.2.7)."""
        return timeouts.SERVER_SECONDS

    def greeting(self) -> bytes:
        """Return the octets that open the session."""
        return replies.greeting(self._setting.hostname).encode()

    def receive_data(self, data: bytes) -> None:
        """Take octets from the peer; once the session is closing, or about to begin TLS, they mean nothing."""
        if self._state not in _DEAF:
            self._arrived.add(data)

    def next_event(self) -> Event | Signal:
        """Return the next event, PAUSED while a reply is owed to the last, NEED_DATA when more must arrive."""
        if self._owed is not None:
            return PAUSED
        if self._intake.expecting:
            return self._read_content()
        line = self._arrived.line(LINE_OCTETS if self._login is None else sasl.LINE_OCTETS)
        if line is None:
            return NEED_DATA
        command, event = self._read(line)
        return self._begin_chunk(event) if isinstance(event, Chunk) else self._owe(command, event)

    def reply(self, reply: Reply) -> bytes:
        """Return the octets that answer the last event, and move the session as the reply has it.

        A closing reply may also be given when none is owed. RuntimeError for any other.
        """
        if self._owed is None and not reply.closes:
            raise RuntimeError(f"no reply is owed, but one was given: {reply.text}")
        if reply.closes:
            self._state = State.CLOSED
            self._drop_if_deaf()
        elif self._owed is not None:
            self._move(*self._owed, reply)
        self._owed = None
        return reply.encode()

    def hello_reply(self, channel_binding: bool = False) -> Reply:
        """Return the answer to the EHLO or HELO a reply is owed to (RFC 5321 §4.1.1.1).

        `channel_binding` says whether the connection has one (RFC 9266), which AUTH may use from now on.
        """
        if self._owed is None or not isinstance(self._owed[1], Hello):
            raise RuntimeError("no reply to EHLO or HELO is owed")
        self._setting = replace(self._setting, mechanisms=sasl.mechanisms(channel_binding))
        if not self._owed[1].extended:
            return replies.hello(self._setting.hostname)
        may_log_in = self._login is not None and self._login_refusal(self._login) is None
        offers = extensions.Offers(
            max_message_size=self._max_message_size,
            max_recipients=self._max_recipients,
            starttls=self._starttls and not self._tls,
            mechanisms=self._setting.mechanisms if may_log_in else (),
            attributes=self._attributes() if self._xclient else (),
        )
        return replies.hello(self._setting.hostname, extensions.keywords(offers))

    def ask(self, challenge: Challenge) -> Reply:
        """Go on with the exchange of AUTH that a reply is owed in: return the question, which is to be that reply.

        RuntimeError when none is owed there.
        """
        if self._owed is None or not isinstance(self._owed[1], LoginStep):
            raise RuntimeError("no reply to a step of AUTH is owed")
        self._challenge = challenge
        self._owed = (Command.AUTH if self._state is State.READY else Command.ASIDE), self._owed[1]
        return challenge.reply

    def recipient_refused(self) -> None:
        """Count a recipient that is refused for good; after too many RCPT is answered 421, whoever it is for."""
        self._refused_recipients += 1

    def login_is(self, login: Login | None) -> None:
        """Say how the peer may log in from now on; None where nobody can."""
        self._login = login

    def tls_started(self) -> None:
        """Begin anew under TLS: all the peer said before is forgotten, also what it sent too early (RFC 3207 §4.2).

        RuntimeError in the middle of a session that did not agree to STARTTLS.
        """
        if states.refusal(self._state, Command.SECURED) or self._owed:
            raise RuntimeError(f"TLS began in a session that is {self._state.value}")
        self._state = states.after(self._state, Command.SECURED)
        self._arrived = Arrived()
        self._esmtp = False
        self._authenticated = False
        self._tls = True

    def _owe(self, command: Command, event: Event) -> Event:
        if isinstance(event, Answered) and event.error:
            self._error_count += 1
        self._owed = command, event
        return event

    def _read(self, line: bytes | Overlong | Reply) -> tuple[Command, Event]:
        challenge, self._challenge = self._challenge, None
        if isinstance(line, Overlong):
            # RFC 4954 §4: the first line of the exchange as well has a code of its own.
            of_login = challenge is not None or line.begins.partition(b" ")[0].upper() == b"AUTH"
            line = replies.LOGIN_TOO_LONG if of_login else replies.LINE_TOO_LONG
        if challenge is None:
            return self._unfit(line) if isinstance(line, Reply) else self._read_command(line)
        if isinstance(line, Reply):
            return Command.PROOF, Answered(line, error=True)
        return self._prove(proven(challenge.answered(line)), Command.ASIDE)

    def _prove(self, step: LoginStep | Challenge | Answered, asking: Command) -> tuple[Command, Event]:
        """Go on with AUTH's exchange; `asking` is what another question moves the session by."""
        if not isinstance(step, Challenge):
            return Command.PROOF, step
        self._challenge = step
        return asking, Answered(step.reply, error=False)

    def _unfit(self, reply: Reply) -> tuple[Command, Event]:
        return Command.ASIDE, Answered(reply, error=reply not in _NO_FAULT)

    def _read_command(self, line: bytes) -> tuple[Command, Event]:
        # Trailing white space is tolerated (RFC 5321 §4.1.1).
        verb, _, argument = line.rstrip(b" \t").partition(b" ")
        if len(line) + 2 > LINE_OCTETS and verb.upper() != b"AUTH":
            return self._unfit(replies.LINE_TOO_LONG)
        known = VERBS.get(verb.upper())
        if known is None:
            return self._unfit(replies.UNKNOWN_COMMAND if verb else replies.SYNTAX_ERROR)
        command, parse = known
        refusal = self._refusal(command)
        # Of a chunk it has to be read how long it is, refused or not.
        if refusal is not None and command is not Command.BDAT:
            return self._unfit(refusal)
        event = parse(argument.lstrip(b" "), self._setting)
        if isinstance(event, _Exchange):
            return self._prove(event, command)
        if isinstance(event, MailFrom):
            event = self._fitting(event)
        if isinstance(event, XClient) and not event.attributes.keys() <= set(self._attributes()):
            event = Answered(replies.BAD_ARGUMENTS, error=True)
        return Command.ASIDE if isinstance(event, Answered) else command, event

    def _fitting(self, event: MailFrom) -> MailFrom | Answered:
        if event.auth and self._login is None:
            return Answered(replies.UNKNOWN_PARAMETER, error=True)
        if event.size is not None and event.size > self._max_message_size:
            return Answered(replies.TOO_LARGE, error=False)
        return event

    def _refusal(self, command: Command) -> Reply | None:
        if command is Command.STARTTLS and not self._starttls:
            return replies.NOT_IMPLEMENTED
        if command is Command.STARTTLS and self._tls:
            return replies.BAD_SEQUENCE
        if command is Command.AUTH and self._login is None:
            return replies.NOT_IMPLEMENTED
        if command is Command.XCLIENT and not self._xclient:
            return replies.NOT_IMPLEMENTED
        refusal = states.refusal(self._state, command)
        if refusal is None and self._login is not None:
            if command is Command.AUTH:
                return self._login_refusal(self._login)
            if command is Command.MAIL and self._login.required and not self._authenticated:
                return self._login_refusal(self._login) or replies.LOGIN_FIRST
        if refusal is None and command is Command.RCPT and self._refused_recipients >= MAX_REFUSED_RECIPIENTS:
            return replies.TOO_MANY_REFUSED
        return refusal

    def _login_refusal(self, login: Login) -> Reply | None:
        """Return why the peer may not log in now, None when it may."""
        if self._authenticated:
            return replies.ALREADY_LOGGED_IN
        if self._failed_logins >= MAX_FAILED_LOGINS:
            return replies.TOO_MANY_LOGINS
        return replies.STARTTLS_FIRST if login.needs_tls and not self._tls else None

    def _read_content(self) -> Event | Signal:
        found = self._intake.read(self._arrived)
        if found is None:
            return NEED_DATA
        if isinstance(found, bytes):
            return Content(found)
        if isinstance(found, Reply):
            return self._owe(*self._unfit(found))
        if found is Command.CHUNK:
            return self._owe(found, Answered(replies.CHUNK_TAKEN, error=False))
        soundness = self._intake.soundness
        return self._owe(found, EndOfData(soundness.problem, soundness.longest_line))

    def _begin_chunk(self, chunk: Chunk) -> Event | Signal:
        """Take a chunk in, or read past one that is refused: it comes all the same (RFC 3030 §2)."""
        if chunk.octets > FAR_TOO_LARGE_FACTOR * self._max_message_size:
            return self._owe(Command.ASIDE, Answered(replies.FAR_TOO_LARGE, error=True))
        refusal = states.refusal(self._state, Command.BDAT)
        self._intake.expect_chunk(chunk, first=self._state is State.RCPT, refusal=refusal)
        if refusal is not None:
            return self._read_content()
        self._state = states.after(self._state, Command.BDAT)
        return chunk

    def _move(self, command: Command, event: Event, reply: Reply) -> None:
        if command is Command.PROOF and isinstance(event, LoginStep):
            self._authenticated = reply is replies.LOGGED_IN
            self._failed_logins += reply.permanent
        if not reply.positive and command not in (Command.END, Command.PROOF):
            return
        self._state = states.after(self._state, command)
        if isinstance(event, Hello):
            self._esmtp = event.extended
        elif isinstance(event, MailFrom) and event.parameters.smtputf8 is not self._setting.international:
            self._setting = replace(self._setting, international=event.parameters.smtputf8)
        elif isinstance(event, XClient):
            self._begin_anew(event)
        elif self._state is State.DATA:
            self._intake.expect_data()
        self._drop_if_deaf()

    def _attributes(self) -> tuple[str, ...]:
        """Return what XCLIENT may tell: a login only where peers log in."""
        return tuple(name for name in xclient.ATTRIBUTES if name != "LOGIN" or self._login is not None)

    def _begin_anew(self, event: XClient) -> None:
        """Take the peer for another, who comes to a fresh session, logged in when the proxy names a login."""
        self._esmtp = False
        self._authenticated = bool(event.attributes.get("LOGIN"))
        self._failed_logins = 0
        self._error_count = 0
        self._refused_recipients = 0

    def _drop_if_deaf(self) -> None:
        # What was pipelined behind STARTTLS came without protection: anybody may have put it there.
        if self._state in _DEAF:
            self._arrived = Arrived()
