"""chasquid's LMTP servers, line by line: our client says what they expect to hear."""

import re
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.next_hop import Dialect, NextHop
from mtad.model.outcome import Delivered, Failed, Outcome
from mtad.outbound.client import MailClient
from mtad.outbound.errand import Mail
from mtad.outbound.pool import IDLE_SECONDS
from mtad.testing.journal import MemoryJournal
from mtad.testing.network import Line, MemoryNetwork
from mtad.testing.tls import MemoryTls
from tests.unit.recipients import to

from . import corpus

DIALOGS = ("test_tcp_success.cmy",)
# RFC 6531 §3.2: who is not offered SMTPUTF8 must not send an internationalized address. chasquid's client does.
DEVIATION = "test_utf8.cmy"
CONTENT = b"Subject: test\r\n\r\nThis is a test.\r\n"
# The dialogs' addresses have no domain; ours always do.
DOMAIN = "corpus.example"


class _Stage(Factory):
    """Listens once; the connection is the dialog's server."""

    noisy = False

    def __init__(self) -> None:
        self.server = Line()

    def buildProtocol(self, addr: object) -> Line:
        return self.server


class LmtpDialogsTest(SynchronousTestCase):
    def test_all(self) -> None:
        folder = corpus("smtp-dialogs-chasquid")
        lines = sum(self.play(folder / name) for name in DIALOGS)
        print(f"\n    {len(DIALOGS)} dialogs, {lines} lines")

    def test_an_address_that_the_server_did_not_ask_for_is_not_said(self) -> None:
        text = (corpus("smtp-dialogs-chasquid") / DEVIATION).read_text("utf-8")
        server, delivery = self.begin(text)
        for reply in (b"220 hola\r\n", b"250 Contame...\r\n"):
            server.send(reply)
            self.turn()
        (outcome,) = self.successResultOf(delivery)
        assert isinstance(outcome, Failed), outcome
        self.assertEqual(outcome.status, "5.6.7")
        self.assertEqual(server.received, b"LHLO mx.example\r\n")

    def play(self, dialog: Path) -> int:
        """Play one dialog to its end; return how many of its lines were ours to say."""
        text = dialog.read_text("utf-8")
        server, delivery = self.begin(text)
        heard = [self.step(server, *step) for step in re.findall(r"^nc (->|<-|<~) ?(.*)$", text, re.MULTILINE)]
        self.assertIsInstance(self.successResultOf(delivery)[0], Delivered)
        return sum(heard)

    def begin(self, text: str) -> "tuple[Line, Deferred[list[Outcome]]]":
        """Begin the delivery that a dialog is about; return the server's end of the connection, and the delivery."""
        self.clock = Clock()
        network = MemoryNetwork(self.clock)
        stage = _Stage()
        addr = self.found(r"_listen (\S+)", text)
        addr = addr if ":" in addr else f"./{addr}"
        network.serve(addr, stage)
        client = MailClient(
            network=network,
            tls=MemoryTls(),
            clock=self.clock,
            journal=MemoryJournal(),
            hostname="mx.example",
        )
        sender, recipient = self.found(r" -f (\S+)", text), self.found(r" -d (\S+)", text)
        delivery = Deferred.fromCoroutine(
            client.deliver(
                NextHop(host=addr, address=addr, dialect=Dialect.LMTP),
                Mail(Address(sender, DOMAIN), CONTENT),
                to(Address(recipient, DOMAIN)),
            )
        )
        self.turn()
        return stage.server, delivery

    def step(self, server: Line, act: str, words: str) -> bool:
        if act == "->":
            server.send(f"{words}\r\n".encode())
            self.turn()
            return False
        if not server.received:
            # Our client takes its leave when nothing more has come up for a while.
            self.turn(IDLE_SECONDS)
        line, ending, server.received = server.received.partition(b"\r\n")
        self.assertEqual(ending, b"\r\n")
        said = line.decode("utf-8").replace(f"@{DOMAIN}>", ">")
        self.assertRegex(said, rf"\A{words if act == '<~' else re.escape(words)}\Z")
        return True

    def turn(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        for _ in range(20):
            self.clock.advance(0)

    def found(self, pattern: str, text: str) -> str:
        match = re.search(pattern, text)
        assert match is not None, pattern
        return match[1]
