"""The client against servers that say anything, and with mail that is anything: nothing but events, and whole lines."""

import os
import re
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred as Pending
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.envelope import Parameters, Recipient
from mtad.model.next_hop import Credentials, Dialect, NextHop, TlsLevel
from mtad.model.outcome import Delivered
from mtad.outbound.client import MailClient
from mtad.outbound.errand import Mail
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
from mtad.testing.journal import MemoryJournal
from mtad.testing.network import MemoryNetwork
from mtad.testing.scripted import ScriptedServer, ScriptedSession
from mtad.testing.tls import MemoryTls
from tests.unit.recipients import to

ANN = Address("ann", "outside.example")
ALICE = Address("alice", "acme.example")
BOB = Address("bob", "acme.example")
ZOE = Address("zoë", "acme.example")
BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
# As many inputs as a run has time for; more with MTAD_FUZZ_EXAMPLES.
EXAMPLES = int(os.environ.get("MTAD_FUZZ_EXAMPLES", "200"))

HELLO = b"250-there\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-LIMITS RCPTMAX=9\r\n250-DSN\r\n250 SMTPUTF8\r\n"
TURNS = (
    b"220-hello\r\n220 hi\r\n",
    HELLO,
    b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n550-5.1.1 no\r\n550 5.1.1 nobody\r\n250 2.1.5 ok\r\n354 go\r\n",
    b"250-2.0.0 taken\r\n250 2.0.0 as 7\r\n",
    b"250 ok\r\n450 4.2.0 grey\r\n251 ok\r\n250 ok\r\n354 go\r\n",
    b"452 4.3.1 full\r\n",
)
WORDS = (
    b"220 hi\r\n", HELLO, b"250 ok\r\n", b"250-x\r\n", b"250-STARTTLS\r\n", b"250-AUTH PLAIN LOGIN\r\n",
    b"250 AUTH=LOGIN\n", b"334 VXNlcm5hbWU6\r\n", b"235 in\r\n", b"354 go\r\n", b"421 bye\r\n", b"450 later\r\n",
    b"502 what\r\n", b"550 no\r\n", b"\r", b"\n", b"-", b" ", b"\0", b"x" * 5000,
)  # fmt: skip


class Stage:
    """Does what events ask for, and begins transactions until the conversation is over; `said` is all that it sent."""

    def __init__(self, conversation: ClientConversation) -> None:
        self.conversation = conversation
        self.events: list[Event] = []
        self.said = b""
        self.begun = 0
        self.over = False

    def hear(self, data: bytes) -> None:
        for event in self.conversation.receive(data):
            self.events.append(event)
            match event:
                case Send(octets):
                    self.said += octets
                case StartTls():
                    self.said += self.conversation.secured()
                case SendContent():
                    self.said += self.conversation.end_of_content()
                case Ready() | Finished():
                    self.begin_next()
                case Closing() | Broken() | Unfit():
                    self.over = True

    def begin_next(self) -> None:
        # A goodbye may be right behind what was waited for: then nothing more is owed, and nothing more is said.
        if self.conversation.awaited is None and not self.over:
            self.begun += 1
            self.said += self.conversation.begin(Transaction(ANN, to(ALICE, BOB, ZOE), 99, True))


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Return octets in pieces, cut at these places as far as there are such."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


class SplitTest(SynchronousTestCase):
    @given(st.lists(st.lists(st.integers(0, 500), max_size=8), min_size=len(TURNS), max_size=len(TURNS)))
    def test_how_a_servers_words_are_cut_makes_no_difference(self, cuts: list[list[int]]) -> None:
        whole, pieces = (Stage(ClientConversation(Dialect.SMTP, "mx.acme.example")) for _ in range(2))
        for turn, places in zip(TURNS, cuts, strict=True):
            whole.hear(turn)
            for piece in cut(turn, places):
                pieces.hear(piece)
        self.assertEqual(pieces.events, whole.events)
        self.assertEqual(pieces.said, whole.said)
        self.assertEqual([type(event) for event in whole.events].count(Finished), 2)


class AnythingTest(SynchronousTestCase):
    @settings(max_examples=EXAMPLES)
    @given(
        st.lists(st.sampled_from(WORDS) | st.binary(max_size=40), max_size=25),
        st.sampled_from(list(Dialect)),
        st.sampled_from(list(TlsLevel)),
        st.sampled_from([None, Credentials("ann", "sesame")]),
        st.booleans(),
    )
    def test_whatever_a_server_says_there_are_events_and_whole_commands(
        self, words: list[bytes], dialect: Dialect, tls: TlsLevel, credentials: Credentials | None, polite: bool
    ) -> None:
        stage = Stage(ClientConversation(dialect, "mx.acme.example", Terms(tls, credentials)))
        for word in [b"220 hi\r\n", HELLO, *words] if polite else words:
            stage.hear(word)
        self.assertNotRegex(stage.said, BARE)
        self.assertTrue(stage.said.endswith(b"\r\n") or not stage.said)
        ends = [event for event in stage.events if isinstance(event, Closing | Broken | Unfit)]
        self.assertLessEqual(len(ends), 1)
        if tls.needed and not any(isinstance(event, StartTls) for event in stage.events):
            self.assertEqual(stage.begun, 0, "nothing of a message is said in clear")
            self.assertNotIn(b"AUTH", stage.said)
        for event in stage.events:
            if isinstance(event, Finished):
                self.assertEqual(len(event.answers), 3)

    @settings(max_examples=20)
    @given(st.sampled_from([b"2", b"250-", b"250-x\r\n", b"\0", b"\n", b"250 ok\r\n"]))
    def test_a_server_that_never_ends_is_not_kept(self, word: bytes) -> None:
        stage = Stage(ClientConversation(Dialect.SMTP, "mx.acme.example"))
        fed = 0
        while not stage.over and fed < 10 * MAX_OCTETS:
            stage.hear(word * 1000)
            fed += len(word) * 1000
        self.assertTrue(stage.over)
        self.assertLess(fed, 2 * MAX_OCTETS)


class _Session(ScriptedSession):
    def dataReceived(self, data: bytes) -> None:
        assert isinstance(self.server, _Server)
        self.server.heard += data
        super().dataReceived(data)


class _Server(ScriptedServer):
    heard = b""

    def buildProtocol(self, addr: object) -> _Session:
        session = _Session(self)
        self.sessions.append(session)
        return session


ODD = st.text(st.sampled_from('\r\n\0.<> a\u00e9\ud800\\"@'), max_size=12) | st.text(max_size=12)


class OutputTest(SynchronousTestCase):
    """Whatever was stored, what leaves are whole lines, and one message or none."""

    @settings(max_examples=EXAMPLES)
    @given(
        st.lists(
            st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.\r\n", b"MAIL FROM:<>", b"a", b"\xc3\xa9"]),
            max_size=20,
        ),
        st.builds(Address, ODD, st.sampled_from(["acme.example", "x\r\n.example"]) | ODD),
        st.builds(Parameters, st.booleans(), ODD | st.none(), ODD | st.none()),
        ODD | st.none(),
    )
    def test_no_line_end_stands_alone(
        self, pieces: list[bytes], address: Address, parameters: Parameters, word: str | None
    ) -> None:
        content = b"".join(pieces)
        server, outcome = self.delivered(
            Mail(ANN, content, parameters), Recipient(0, address, address, "x", word, word)
        )
        self.assertNotRegex(server.heard, BARE)
        self.assertLessEqual(sum(line.startswith(b"MAIL") for line in server.lines), 1)
        if isinstance(outcome, Delivered):
            ended = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
            (message,) = server.messages
            self.assertEqual((b"\r\n" + message).replace(b"\r\n..", b"\r\n.")[2:], ended)
        else:
            self.assertEqual(server.messages, [])

    def delivered(self, mail: Mail, recipient: Recipient) -> tuple[_Server, object]:
        clock = Clock()
        network = MemoryNetwork(clock)
        server = _Server(b"220 hi\r\n", {b"EHLO": HELLO})
        network.serve("127.0.0.1:25", server)
        client = MailClient(network=network, tls=MemoryTls(), clock=clock, journal=MemoryJournal(), hostname="mx")
        hop = NextHop("mx.remote.example", "127.0.0.1:25")
        delivery = Pending.fromCoroutine(client.deliver(hop, mail, (recipient,)))
        for _ in range(40):
            clock.advance(0)
        (outcome,) = self.successResultOf(delivery)
        return server, outcome
