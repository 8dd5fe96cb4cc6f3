"""A few thousand of the inputs that `make fuzz` plays, and that it would complain."""

from collections import Counter
from random import Random
from typing import get_args

from twisted.trial.unittest import SynchronousTestCase

from mtad.smtp.client import Event as ClientEvent
from mtad.smtp.commands import Event
from mtad.smtp.server import Conversation
from tests.fuzz import client, proxied, server
from tests.fuzz.held import held_octets
from tests.fuzz.inputs import READ_OCTETS, drawn
from tests.unit.conversations import run

INPUTS = 1000


def conversation() -> Conversation:
    return Conversation(hostname="mx.example", max_message_size=100_000, starttls=True)


class Hoarding(Conversation):
    """Keeps what it reads."""

    def receive_data(self, data: bytes) -> None:
        self.__dict__.setdefault("_hoard", []).append(data)
        super().receive_data(data)


class FuzzTest(SynchronousTestCase):
    def test_the_server(self) -> None:
        kinds = Counter[str]()
        for number in range(INPUTS):
            kinds.update(server.play(Random(number)))
        self.assertEqual(set(kinds), {kind.__name__ for kind in get_args(Event)})

    def test_the_client(self) -> None:
        kinds = Counter[str]()
        for number in range(INPUTS):
            kinds.update(client.play(Random(number)))
        self.assertEqual(set(kinds), {kind.__name__ for kind in get_args(ClientEvent)})

    def test_proxies(self) -> None:
        kinds = Counter[str]()
        for number in range(INPUTS):
            kinds.update(proxied.play(Random(number)))
        self.assertEqual(set(kinds), {"Header", "Bad", "NoneType"})

    def test_inputs_are_the_same_for_the_same_seed_and_come_in_reads(self) -> None:
        for number in range(INPUTS):
            pieces = drawn(Random(number), server.VOCABULARY)
            self.assertEqual(drawn(Random(number), server.VOCABULARY), pieces)
            self.assertLessEqual(max(map(len, pieces), default=0), READ_OCTETS)

    def test_it_complains(self) -> None:
        talk = Hoarding(hostname="mx.example", max_message_size=1000, starttls=True)
        self.assertRaises(AssertionError, server.Session(talk, Random(1)).hear, b"NOOP\r\n" * 10_000)
        session = server.Session(conversation(), Random(1))
        session.hear(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n")
        # More content than the rules of the game allow.
        self.assertRaises(AssertionError, session.hear, b"x" * (server.MAX_MESSAGE_OCTETS + 1))


class HeldTest(SynchronousTestCase):
    def test_what_was_read_is_let_go_of(self) -> None:
        opening = b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n"
        for octets in (
            b"NOOP\r\n" * 10_000 + b"NO",
            b"a" * 60_000,
            opening + b"DATA\r\n" + b"a\r\n" * 20_000 + b".\r\n" + b"NOOP\r\n" * 10_000,
            opening + b"BDAT 60000\r\n" + b"a" * 59_000,
            opening + b"BDAT 6 LAST\r\nabcdef" + b"NOOP\r\n" * 10_000,
            b"BDAT 60000 LAST\r\n" + b"a" * 60_000,
        ):
            talk = conversation()
            run(talk, octets)
            self.assertLess(held_octets(talk), 500, octets[:100])
