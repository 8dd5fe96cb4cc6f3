"""The server's conversation against any client."""

import re
from base64 import b64encode
from collections import Counter
from random import Random

from mtad.model import replies
from mtad.model.reply import Reply
from mtad.smtp import sasl, scram
from mtad.smtp.chunking import Chunk
from mtad.smtp.commands import (
    NEED_DATA,
    PAUSED,
    Answered,
    Content,
    Data,
    EndOfData,
    Event,
    LoginStep,
    MailFrom,
    StartTls,
)
from mtad.smtp.sasl import Challenge, Login, Proof
from mtad.smtp.scram import SCRAM, Opening
from mtad.smtp.server import Conversation
from tests.fuzz.held import held_octets
from tests.fuzz.inputs import Vocabulary, drawn
from tests.unit.conversations import reply_to
from tests.unit.scram_client import VERIFIER, Client

MAX_MESSAGE_OCTETS = 3000
# The longest line there is is one of AUTH's exchange. Beside it a conversation holds names and what it is owed for.
HELD_OCTETS = 2 * sasl.LINE_OCTETS
NONCE = "server"
_REPLY = re.compile(rb"(?:[2-5][0-9]{2}-[ -~]*\r\n)*[2-5][0-9]{2} [ -~]*\r\n")


def _scram_transcript() -> bytes:
    """Return an exchange that ends well, as the nonces are always the same."""
    client = Client("ann@c.example", "pencil")
    first = client.first()
    question = scram.question(scram.opening(SCRAM, first), VERIFIER, NONCE, None)
    final = client.final(question.text)
    lines = b"AUTH SCRAM-SHA-256 " + b64encode(first), b64encode(final), b"", b"MAIL FROM:<ann@c.example>"
    return b"EHLO c\r\n" + b"".join(line + b"\r\n" for line in lines)


_MAIL = b"MAIL FROM:<ann@c.example>\r\nRCPT TO:<bob@acme.example>\r\n"
_DATA = _MAIL + b"DATA\r\nSubject: x\r\n\r\n..dot\r\nbody\r\n.\r\n"
_CHUNKS = _MAIL + b"BDAT 12\r\nSubject: x\r\nBDAT 2\r\n\r\nBDAT 7 LAST\r\n.body\r\n"
_WORDS = (
    b"EHLO c.example\r\n", b"HELO c\r\n", b"MAIL FROM:<>", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<a@b>\r\n",
    "RCPT TO:<ü@bücher.example>".encode(), b" SMTPUTF8", b" SIZE=10", b" BODY=8BITMIME", b" RET=HDRS", b" ENVID=a+2B",
    b" NOTIFY=NEVER", b" ORCPT=rfc822;a", "ORCPT=utf-8;ü\\x{FC}".encode(), b"DATA\r\n", b"BDAT 5\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 3 LAST\r\n", b"BDAT 2999", b"BDAT 99999999999999999999\r\n", b"RSET\r\n", b"NOOP\r\n", b"VRFY a\r\n",
    b"EXPN a\r\n", b"HELP\r\n", b"QUIT\r\n", b"STARTTLS\r\n", b"AUTH PLAIN ", b"AUTH LOGIN\r\n",
    b"AUTH SCRAM-SHA-256\r\n",
    b"AGEAYg==\r\n", b"*\r\n", b"=\r\n", b"biwsbj1hLHI9Yg==\r\n", b"XCLIENT ADDR=192.0.2.1\r\n", b"LOGIN=a", b" ",
    b"\r\n",
    b"\r", b"\n", b".", b"\r\n.\r\n", b"..", b"\0", b"\xff", b"\xc3\xbc", b"<", b">", b"@", b'"', b"\\", b":", b"[::1]",
)  # fmt: skip
VOCABULARY = Vocabulary(
    transcripts=(
        b"EHLO c.example\r\n" + _DATA + _DATA + b"QUIT\r\n",
        b"EHLO c.example\r\n" + _CHUNKS + _DATA + _CHUNKS + b"QUIT\r\n",
        b"HELO c\r\n"
        + _MAIL
        + b"RSET\r\nVRFY a\r\nHELP\r\n"
        + _MAIL
        + b"BDAT 4\r\na\r\n.RSET\r\nBDAT 1 LAST\r\n.QUIT\r\n",
        b"EHLO c\r\nSTARTTLS\r\nEHLO c\r\nAUTH PLAIN AGEAYg==\r\n" + _DATA + b"QUIT\r\n",
        b"EHLO c\r\nAUTH LOGIN\r\nYW5uQGE=\r\nc2VjcmV0\r\nAUTH PLAIN\r\n*\r\n" + _CHUNKS + b"QUIT\r\n",
        _scram_transcript() + b"RSET\r\n" + _DATA + b"QUIT\r\n",
        "EHLO c\r\nMAIL FROM:<jürgen@bücher.example> SMTPUTF8 RET=FULL ENVID=QQ314\r\n"
        "RCPT TO:<ö@c.example> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;ö@c.example\r\n".encode()
        + _CHUNKS,
        b"XCLIENT ADDR=IPV6:::1 LOGIN=ann NAME=[UNAVAILABLE]\r\nEHLO c\r\n" + _DATA,
        b'MAIL FROM:<"a b"@[192.0.2.1]> SIZE=7 AUTH=<>\r\nRCPT TO:<Postmaster>\r\n' * 2 + b"DATA\r\nx\ny\r\0\r\n.\r\n",
    ),
    words=_WORDS,
)


def play(random: Random) -> Counter[str]:
    """Let any client talk; return the events it came to, by kind. AssertionError for what must not be."""
    login = random.choice((None, Login(required=False, needs_tls=False), Login(required=True, needs_tls=True)))
    talk = Conversation(
        hostname="mx.example",
        max_message_size=MAX_MESSAGE_OCTETS,
        starttls=random.random() < 0.7,
        login=login,
        max_recipients=10,
        xclient=random.random() < 0.3,
    )
    session = Session(talk, random)
    for piece in drawn(random, VOCABULARY):
        session.hear(piece)
    return session.events


class Session:
    """Plays whoever answers: agrees to most, and checks all that comes."""

    def __init__(self, talk: Conversation, random: Random) -> None:
        self.events: Counter[str] = Counter()
        self._talk = talk
        self._random = random
        self._heard = 0
        self._content = 0

    def hear(self, piece: bytes) -> None:
        """Pass on what was read, and take all that comes of it."""
        self._talk.receive_data(piece)
        self._heard += len(piece)
        while (event := self._talk.next_event()) is not NEED_DATA:
            assert event is not PAUSED, "paused, though nothing is owed"
            self.events[type(event).__name__] += 1
            assert self.events.total() <= 2 * self._heard + 2, "events without end"
            self._take(event)
        held = held_octets(self._talk)
        assert held <= HELD_OCTETS, f"{held} octets are held"

    def _take(self, event: Event) -> None:
        if isinstance(event, Content):
            assert event.octets, "content of no octets"
            self._content += len(event.octets)
            assert self._content <= MAX_MESSAGE_OCTETS, "more content than is taken"
            return
        if isinstance(event, Chunk):
            return
        assert self._talk.next_event() is PAUSED, "nothing is owed"
        reply = self._reply_to(event)
        octets = self._talk.reply(reply)
        assert _REPLY.fullmatch(octets), f"no reply: {octets!r}"
        if isinstance(event, Data | EndOfData | MailFrom):
            self._content = 0
        if isinstance(event, StartTls) and reply.positive:
            self._talk.tls_started()

    def _reply_to(self, event: Event) -> Reply:
        if isinstance(event, LoginStep):
            return self._login_reply(event)
        chance = self._random.random()
        if chance < 0.05 and not isinstance(event, Answered):
            return self._random.choice((replies.TEMPORARY_TROUBLE, replies.RELAY_DENIED))
        return replies.TOO_MANY_ERRORS if chance > 0.995 else reply_to(self._talk, event)

    def _login_reply(self, step: LoginStep) -> Reply:
        """Believe everybody, but those who come by SCRAM only when they prove it."""
        chance = self._random.random()
        if chance < 0.1:
            return self._random.choice((replies.LOGIN_REFUSED, replies.LOGIN_TROUBLE))
        if isinstance(step, Opening):
            asked = sasl.question(step, verifier=VERIFIER, nonce=NONCE, binding=None)
            return self._talk.ask(asked) if isinstance(asked, Challenge) else replies.LOGIN_REFUSED
        if isinstance(step, Proof):
            return replies.LOGIN_REFUSED if step.final is None else self._talk.ask(step.final)
        return replies.LOGGED_IN
