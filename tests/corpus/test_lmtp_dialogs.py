"""chasquid's LMTP servers, line by line: our client says what they expect to hear."""

import re
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.next_hop import Dialect, NextHop
from mtad.model.outcome import Delivered
from mtad.outbound.client import MailClient
from mtad.outbound.pool import IDLE_SECONDS
from mtad.testing.journal import MemoryJournal
from mtad.testing.network import Line, MemoryNetwork
from mtad.testing.tls import MemoryTls

from . import corpus

DIALOGS = ("test_tcp_success.cmy", "test_utf8.cmy")
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

    def play(self, dialog: Path) -> int:
        """Play one dialog to its end; return how many of its lines were ours to say."""
        text = dialog.read_text("utf-8")
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
            may_send=lambda: True,
        )
        sender, recipient = self.found(r" -f (\S+)", text), self.found(r" -d (\S+)", text)
        delivery = Deferred.fromCoroutine(
            client.deliver(
                NextHop(host=addr, address=addr, dialect=Dialect.LMTP),
                Address(sender, DOMAIN),
                [Address(recipient, DOMAIN)],
                CONTENT,
            )
        )
        self.turn()
        heard = [self.step(stage.server, *step) for step in re.findall(r"^nc (->|<-|<~) ?(.*)$", text, re.MULTILINE)]
        self.assertIsInstance(self.successResultOf(delivery)[0], Delivered)
        return sum(heard)

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
