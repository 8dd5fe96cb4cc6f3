"""The client's conversation against any server."""

import re
from collections import Counter
from random import Random

from mtad.model.address import Address
from mtad.model.envelope import Parameters
from mtad.model.next_hop import Credentials, Dialect, TlsLevel
from mtad.smtp.client import (
    Broken,
    ClientConversation,
    Closing,
    Event,
    Finished,
    Ready,
    Send,
    SendContent,
    StartTls,
    Terms,
    Unfit,
)
from mtad.smtp.reply_reader import MAX_OCTETS
from mtad.smtp.transaction import Transaction
from tests.fuzz.held import held_octets
from tests.fuzz.inputs import Vocabulary, drawn
from tests.unit.recipients import to

# One reply that is not complete, what the hello offered, and the answers of some recipients.
HELD_OCTETS = 4 * MAX_OCTETS
_SAID = re.compile(rb"(?:[^\r\n]*\r\n)*")
_HELLO = b"220 mx ready\r\n250-mx\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
_OPEN = _HELLO + b"250-LIMITS RCPTMAX=2 MAILMAX=3\r\n250 HELP\r\n"
_TAKEN = b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 no\r\n354 go\r\n250 2.0.0 queued\r\n"
VOCABULARY = Vocabulary(
    transcripts=(
        _OPEN + _TAKEN + b"250 reset\r\n" + _TAKEN,
        _OPEN + b"250 ok\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n450 4.2.1 later\r\n554 5.5.1 nobody\r\n250 ok\r\n",
        _HELLO + b"250 STARTTLS\r\n220 go\r\n" + _HELLO + b"250 AUTH PLAIN LOGIN\r\n235 2.7.0 in\r\n" + _TAKEN,
        _HELLO + b"250 STARTTLS\r\n220 go\r\n" + _HELLO + b"250 AUTH LOGIN\r\n334 VXNlcg==\r\n334 x\r\n",
        b"220 mx\r\n500 what\r\n250 mx\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n221 bye\r\n",
        b"220 lmtp\r\n250 hi\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n452 full\r\n250 ok\r\n",
        b"554 5.7.1 no\r\n",
        b"421 4.3.2 closing\r\n",
        _OPEN + b"250 ok\r\n421 4.4.2 too slow\r\n",
    ),
    words=(
        b"220 ", b"220-x\r\n", b"250 ok\r\n", b"250-", b"250 ", b"354 go\r\n", b"334 \r\n", b"235 ok\r\n",
        b"421 no\r\n",
        b"450 4.2.1 x\r\n", b"550 5.1.1 x\r\n", b"552 5.5.3 x\r\n", b"554", b"221 bye\r\n", b"199 x\r\n", b"600 x\r\n",
        b"25", b"250\r\n", b"250\tx\r\n", b"-", b" ", b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"5.1.1", b"STARTTLS\r\n",
        b"AUTH PLAIN\r\n", b"PIPELINING\r\n", b"SIZE 9999999999999999999999\r\n", b"SIZE x\r\n",
        b"LIMITS RCPTMAX=0\r\n",
        b"SMTPUTF8\r\n", b"DSN\r\n", b"8BITMIME\r\n",
    ),
)  # fmt: skip
_ANN = Address("ann", "c.example")
_MESSAGES = (
    Transaction(_ANN, to(Address("bob", "acme.example"), Address("a b", "acme.example")), 5),
    Transaction(None, to(Address("bob", "acme.example"), orcpt="rfc822;b+2Bc", notify="SUCCESS,DELAY"), 0),
    Transaction(
        Address("jürgen", "xn--bcher-kva.example"),
        to(*(Address(f"r{n}", "acme.example") for n in range(5)), notify="NEVER"),
        10**6,
        eight_bit=True,
        eight_bit_head=True,
        parameters=Parameters(smtputf8=True, ret="HDRS", envid="QQ314"),
    ),
)


def play(random: Random) -> Counter[str]:
    """Let any server answer; return the events it came to, by kind. AssertionError for what must not be."""
    level = random.choice(list(TlsLevel))
    credentials = Credentials("ann", "sesame") if random.random() < 0.4 else None
    dialect = random.choice(list(Dialect))
    session = Session(ClientConversation(dialect, "mx.example", Terms(level, credentials)), random)
    for piece in drawn(random, VOCABULARY):
        session.hear(piece)
    return session.events


class Session:
    """Plays whoever has mail for the server, and checks all that is said to it."""

    def __init__(self, talk: ClientConversation, random: Random) -> None:
        self.events: Counter[str] = Counter()
        self._talk = talk
        self._random = random
        self._over = False
        self._recipients = 0

    def hear(self, piece: bytes) -> None:
        """Pass on what was read, and do all that follows."""
        events = self._talk.receive(piece)
        assert not (events and self._over), f"it goes on after its end: {events}"
        for event in events:
            self.events[type(event).__name__] += 1
            self._take(event)
        held = held_octets(self._talk)
        assert held <= HELD_OCTETS, f"{held} octets are held"

    def _take(self, event: Event) -> None:
        match event:
            case Send():
                self._say(event.octets)
            case StartTls():
                self._say(self._talk.secured())
            case Ready():
                self._begin()
            case SendContent():
                self._say(self._talk.end_of_content())
            case Finished():
                assert len(event.answers) == self._recipients, "not an answer for everyone"
                self._recipients = 0
                if self._talk.awaited is None and self._random.random() < 0.8:
                    self._begin()
                else:
                    self._say(self._talk.quit())
            case Closing() | Broken() | Unfit():
                self._over = True

    def _begin(self) -> None:
        transaction = self._random.choice(_MESSAGES)
        self._recipients = len(transaction.recipients)
        self._say(self._talk.begin(transaction))

    def _say(self, octets: bytes) -> None:
        assert _SAID.fullmatch(octets), f"more than lines: {octets!r}"
