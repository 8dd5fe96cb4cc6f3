"""SMTP smuggling: nothing but the true end of a message may make two messages out of one, in DATA and in BDAT.

Beside the corpus, every sequence of CR, LF and dot up to seven octets long stands between a message and a second one.
"""

import json
from collections.abc import Iterator
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.address import Address
from mtad.model.reply import Reply
from mtad.smtp.commands import Content, EndOfData, Event, MailFrom, Quit
from mtad.smtp.data import DataDecoder
from mtad.smtp.dot_stuffing import DOT, stuffed
from mtad.smtp.server import Conversation
from mtad.smtp.survey import Survey
from tests.unit.conversations import joined, run

from . import corpus

OUTER = b"EHLO c.example\r\nMAIL FROM:<outer@c.example>\r\nRCPT TO:<alice@acme.example>\r\n"
TEXT = b"Subject: x\r\n\r\ntext"
COMMANDS = b"MAIL FROM:<smuggled@c.example>\r\nRCPT TO:<alice@acme.example>\r\nDATA\r\n"
SMUGGLED = COMMANDS + b"From: smuggled\r\n\r\nsmuggled"
END = b"\r\n.\r\n"
LONGEST = 7


def sequences() -> Iterator[bytes]:
    """Yield every sequence of these three octets, from one octet to the longest."""
    for length in range(1, LONGEST + 1):
        yield from map(bytes, product(b"\r\n.", repeat=length))


def of_corpus() -> list[bytes]:
    """Return the sequences of the corpus, both directions."""
    directions = json.loads((corpus("smtp-smuggling") / "eod_sequences.json").read_text())
    found = [text.encode("latin-1") for direction in ("inbound", "outbound") for text in directions[direction]]
    assert len(found) > 10
    return found


def problem_of(content: bytes) -> Reply | None:
    """Return what is wrong with a content."""
    rest = content.replace(b"\r\n", b"")
    if b"\r" in rest or b"\n" in rest:
        return replies.BARE_NEWLINE
    return replies.NUL_OCTET if b"\0" in rest else None


def talk(pieces: list[bytes]) -> list[Event]:
    """Return the events of a session whose every request is granted."""
    conversation = Conversation(hostname="mx.example", max_message_size=100_000, starttls=False)
    events: list[Event] = []
    for piece in pieces:
        events += run(conversation, piece)[0]
    return joined(events)


def pieces_of(before: bytes, sequence: bytes, after: bytes) -> list[bytes]:
    """Return all of it in pieces, with each octet of the sequence in a read of its own."""
    return [before, *(bytes([octet]) for octet in sequence), after]


class DataTest(SynchronousTestCase):
    def assert_read(self, sequence: bytes, *, piecewise: bool) -> None:
        """Check that the message ends at the true end, and that commands are read only behind it."""
        sent = TEXT + sequence + SMUGGLED + END
        content, _, rest = (sent + b"QUIT\r\n").partition(END)
        content = content.replace(b"\r\n.", b"\r\n") + b"\r\n"
        pieces = pieces_of(OUTER + b"DATA\r\n" + TEXT, sequence, SMUGGLED + END + b"QUIT\r\n")
        events = talk(pieces if piecewise else [b"".join(pieces)])[4:]
        problem = problem_of(content)
        expected = [] if problem else [Content(content)]
        self.assertEqual(events[: len(expected) + 1], [*expected, EndOfData(problem)], sequence)
        told = [event for event in events[len(expected) + 1 :] if isinstance(event, MailFrom | EndOfData | Quit)]
        leftover = rest.removesuffix(b"QUIT\r\n").removesuffix(SMUGGLED + END)
        if rest == b"QUIT\r\n":
            self.assertEqual(told, [Quit()], sequence)
        elif not leftover or (leftover.endswith(b"\r\n") and problem_of(leftover) is None):
            # The peer did end its message, and went on at the beginning of a line.
            self.assertEqual(told, [MailFrom(Address("smuggled", "c.example"), None, None), EndOfData(None), Quit()])
        else:
            self.assertNotIn(EndOfData(None), told, sequence)

    def test_the_corpus(self) -> None:
        found = of_corpus()
        for sequence in found:
            self.assertNotIn(END, sequence)
            self.assert_read(sequence, piecewise=False)
            self.assert_read(sequence, piecewise=True)
        print(f"\n    {len(found)} sequences, each whole and octet by octet")

    def test_every_sequence(self) -> None:
        found = list(sequences())
        self.assertEqual(len(found), sum(3**length for length in range(1, LONGEST + 1)))
        for sequence in found:
            self.assert_read(sequence, piecewise=False)
            self.assert_read(sequence, piecewise=True)
        print(f"\n    {len(found)} sequences, each whole and octet by octet")


class ChunksTest(SynchronousTestCase):
    """Nothing ends a chunk but its last octet."""

    def assert_read(self, sequence: bytes, first: int) -> None:
        """Check that there is one message, when a chunk ends behind so many octets."""
        content = TEXT + sequence + SMUGGLED + END + b"QUIT\r\n"
        chunks = b"BDAT %d\r\n%sBDAT %d LAST\r\n%s" % (
            first, content[:first], len(content) - first, content[first:],
        )  # fmt: skip
        events = talk([OUTER + chunks + b"QUIT\r\n"])[3:]
        problem = problem_of(content)
        told = [event for event in events if isinstance(event, MailFrom | EndOfData | Quit)]
        # A chunk that is refused ends the message, and what follows it is no message of its own.
        self.assertEqual(told, [EndOfData(problem), Quit()], sequence)
        if problem is None:
            self.assertIn(Content(content), events, sequence)

    def test_the_corpus(self) -> None:
        for sequence in of_corpus():
            for first in range(len(sequence) + 1):
                self.assert_read(sequence, len(TEXT) + first)

    def test_every_sequence(self) -> None:
        for sequence in sequences():
            self.assert_read(sequence, 0)
            self.assert_read(sequence, len(TEXT) + (len(sequence) + 1) // 2)


class SentTest(SynchronousTestCase):
    """What goes out is read by a server that knows the true end alone, and by none as two messages."""

    def assert_sent(self, sequence: bytes, block_octets: int) -> bool:
        content = TEXT + sequence + SMUGGLED + END
        survey = Survey()
        survey.look(content)
        self.assertEqual(survey.bare_newline, problem_of(content) is not None, sequence)
        if survey.bare_newline:
            return False
        blocks = [content[start : start + block_octets] for start in range(0, len(content), block_octets)]
        sent = b"".join(stuffed(blocks)) + DOT
        self.assertIsNone(problem_of(sent), sequence)
        decoder = DataDecoder(len(sent))
        self.assertEqual(decoder.feed(sent), content, sequence)
        self.assertEqual((decoder.finished, decoder.rest, sent.count(END)), (True, b"", 1), sequence)
        return True

    def test_the_corpus(self) -> None:
        # What has a NUL is never taken.
        found = [sequence for sequence in of_corpus() if b"\0" not in sequence]
        self.assertEqual([sequence for sequence in found if self.assert_sent(sequence, 1000)], [])

    def test_every_sequence(self) -> None:
        sent = [sequence for sequence in sequences() if self.assert_sent(sequence, 1000)]
        for sequence in sent:
            for block_octets in (1, 2, 3):
                self.assert_sent(sequence, block_octets)
        self.assertIn(b"\r\n.\r\n.", sent)
        print(f"\n    {len(sent)} sequences are sent, with their dots doubled")
