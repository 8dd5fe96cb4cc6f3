"""SMTP smuggling: no end-of-data sequence but the true one may make two messages out of one."""

import json

from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.address import Address
from mtad.smtp.commands import Answered, Content, Data, EndOfData, Event, Hello, MailFrom, Quit, RcptTo, Signal
from mtad.smtp.server import Conversation

from . import corpus

OPENING = b"EHLO c.example\r\nMAIL FROM:<outer@c.example>\r\nRCPT TO:<alice@acme.example>\r\nDATA\r\n"
SMUGGLED = (
    b"MAIL FROM:<smuggled@c.example>\r\nRCPT TO:<alice@acme.example>\r\nDATA\r\nFrom: smuggled\r\n\r\nsmuggled\r\n.\r\n"
)


def talk(pieces: list[bytes]) -> list[Event]:
    """Return the events of a session whose every request is granted."""
    conversation = Conversation(hostname="mx.example", max_message_size=100_000, starttls=False)
    events: list[Event] = []
    for piece in pieces:
        conversation.receive_data(piece)
        while not isinstance(event := conversation.next_event(), Signal):
            events.append(event)
            if isinstance(event, Hello):
                conversation.reply(conversation.hello_reply())
            elif isinstance(event, Answered):
                conversation.reply(event.reply)
            elif not isinstance(event, Content):
                conversation.reply(replies.START_DATA if isinstance(event, Data) else replies.OK)
    return events


class SmugglingTest(SynchronousTestCase):
    def sequences(self, direction: str) -> list[bytes]:
        text = (corpus("smtp-smuggling") / "eod_sequences.json").read_text()
        found = [sequence.encode("latin-1") for sequence in json.loads(text)[direction]]
        self.assertGreater(len(found), 5)
        return found

    def assert_one_message(self, sequence: bytes, pieces: list[bytes]) -> None:
        commands = [event for event in talk(pieces) if not isinstance(event, Content)]
        problem = replies.NUL_OCTET if b"\0" in sequence else replies.BARE_NEWLINE
        outer = MailFrom(Address("outer", "c.example"), None, None)
        alice = RcptTo(Address("alice", "acme.example"))
        expected = [Hello("c.example", extended=True), outer, alice, Data(), EndOfData(problem), Quit()]
        self.assertEqual(commands, expected, sequence)

    def test_no_sequence_lets_a_second_message_in(self) -> None:
        sequences = [*self.sequences("inbound"), *self.sequences("outbound")]
        for sequence in sequences:
            octets = OPENING + b"Subject: x\r\n\r\ntext" + sequence + SMUGGLED + b"QUIT\r\n"
            self.assert_one_message(sequence, [octets])
            self.assert_one_message(sequence, [octets[place : place + 1] for place in range(len(octets))])
        print(f"\n    {len(sequences)} sequences, each whole and octet by octet")

    def test_the_true_end_does_let_one_in(self) -> None:
        events = talk([OPENING + b"text\r\n.\r\n" + SMUGGLED])
        self.assertEqual([event for event in events if isinstance(event, EndOfData)], [EndOfData(None)] * 2)
