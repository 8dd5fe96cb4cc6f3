"""Servers for tests that answer by a script and remember what they were told: SMTP's and LMTP's other side.

    server = ScriptedServer(b"220 ready\\r\\n", {b"RCPT": [b"250 ok\\r\\n", b"550 no\\r\\n"]})
    network.serve("127.0.0.1:24", server)

The verb of a line picks the answer; `b"."` answers the end of data. An answer is octets, a list of them (one a turn,
the last for good), a function of the session and the line, SILENCE, HANG_UP or START_TLS.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import cast

from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator, ITLSTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure


class Act(Enum):
    """What a script can do instead of answering."""

    SILENCE = "say nothing"
    HANG_UP = "close the connection"
    START_TLS = "say 220 and begin TLS"


SILENCE = Act.SILENCE
HANG_UP = Act.HANG_UP
START_TLS = Act.START_TLS

Word = bytes | Act
Answer = Word | Sequence[Word] | Callable[["ScriptedSession", bytes], Word]

OK = b"250 2.0.0 OK\r\n"
GO_SECURE = b"220 2.0.0 Ready to start TLS\r\n"
GO_AHEAD = b"354 Go ahead\r\n"


class ScriptedSession(Protocol):
    """One connection to a ScriptedServer: `lines` without their ends, `messages` as they were on the wire.

    `accepted` are the RCPT lines of the transaction that were answered 2yz.
    """

    def __init__(self, server: "ScriptedServer") -> None:
        self.server = server
        self.lines: list[bytes] = []
        self.messages: list[bytes] = []
        self.accepted: list[bytes] = []
        self.lmtp = False
        self.closed = False
        self._unread = b""
        self._in_data = False

    def connectionMade(self) -> None:
        """Greet."""
        self._say(self.server.next_answer(b"", self, b""))

    def dataReceived(self, data: bytes) -> None:
        """Answer every whole line, and every whole message."""
        self._unread += data
        while self._message() if self._in_data else self._line():
            pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the end."""
        self.closed = True

    def _line(self) -> bool:
        line, ending, rest = self._unread.partition(b"\r\n")
        if not ending:
            return False
        self._unread = rest
        self.lines.append(line)
        verb = line.split(b" ", 1)[0].split(b":", 1)[0].upper()
        self.lmtp = self.lmtp or verb == b"LHLO"
        answer = self.server.next_answer(verb, self, line)
        if verb in (b"MAIL", b"RSET"):
            self.accepted = []
        if verb == b"RCPT" and isinstance(answer, bytes) and answer.startswith(b"2"):
            self.accepted.append(line)
        self._in_data = verb == b"DATA" and isinstance(answer, bytes) and answer.startswith(b"354")
        self._say(answer)
        if verb == b"QUIT" and answer is not SILENCE:
            self._say(HANG_UP)
        return True

    def _message(self) -> bool:
        # The first line may already be the dot (RFC 5321 §4.1.1.4).
        message, ending, rest = (b"\r\n" + self._unread).partition(b"\r\n.\r\n")
        if not ending:
            return False
        self._unread = rest
        self._in_data = False
        self.messages.append(message[2:] + b"\r\n" if message else b"")
        answers = [self.server.next_answer(b".", self, b".") for _ in (self.accepted if self.lmtp else [b"one"])]
        for answer in answers:
            self._say(answer)
        return True

    def _say(self, answer: Word) -> None:
        assert self.transport is not None
        if answer is HANG_UP:
            self.transport.loseConnection()
        elif answer is START_TLS:
            self._unread = b""
            self.transport.write(GO_SECURE)
            # A memory transport takes None as well.
            context = cast(IOpenSSLServerConnectionCreator, self.server.tls_context)
            cast(ITLSTransport, self.transport).startTLS(context)
        elif isinstance(answer, bytes):
            self.transport.write(answer)


class ScriptedServer(Factory):
    """Answers by `script`, `default` where it says nothing; `sessions` are the connections so far.

    Unless the script says otherwise DATA is answered 354 and QUIT 221. In LMTP (after LHLO) the end of data is
    answered once for each accepted recipient, as RFC 2033 §4.2 asks. Answers may be changed while it runs.
    `tls_context` is what START_TLS begins with; in memory any will do.
    """

    noisy = False

    def __init__(self, greeting: Answer, script: Mapping[bytes, Answer] | None = None, default: Answer = OK) -> None:
        self.script: dict[bytes, Answer] = {b"": greeting, b"DATA": GO_AHEAD, b"QUIT": b"221 2.0.0 Bye\r\n"}
        self.script.update(script or {})
        self.default = default
        self.tls_context: IOpenSSLServerConnectionCreator | None = None
        self.sessions: list[ScriptedSession] = []
        self._turns: dict[bytes, int] = {}

    def buildProtocol(self, addr: IAddress | None) -> ScriptedSession:
        """Begin a session."""
        session = ScriptedSession(self)
        self.sessions.append(session)
        return session

    @property
    def messages(self) -> list[bytes]:
        """All messages of all sessions, as they were on the wire."""
        return [message for session in self.sessions for message in session.messages]

    @property
    def lines(self) -> list[bytes]:
        """All lines of all sessions, one session after another."""
        return [line for session in self.sessions for line in session.lines]

    def next_answer(self, verb: bytes, session: ScriptedSession, line: bytes) -> Word:
        """Return what the script answers to this line now."""
        answer = self.script.get(verb, self.default)
        if callable(answer):
            return answer(session, line)
        if isinstance(answer, bytes | Act):
            return answer
        turn = self._turns.get(verb, 0)
        self._turns[verb] = turn + 1
        return answer[min(turn, len(answer) - 1)]
