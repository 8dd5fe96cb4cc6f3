"""Connections that are lost, on the whole server: whatever state the session is in, nothing of it stays."""

from base64 import b64encode
from collections.abc import Callable
from itertools import product
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import Network, Tls
from mtad.testing.network import Line
from mtad.testing.world import World, settings

ENVELOPE = (b"MAIL FROM:<alice@acme.example>\r\n", b"RCPT TO:<bob@acme.example>\r\n")
HELLO = b"EHLO pc.example\r\n"
SECURED = (HELLO, b"STARTTLS\r\n", None, HELLO)
# What is sent, piece by piece; None is the handshake of TLS.
TRANSCRIPTS: tuple[tuple[str, tuple[bytes | None, ...]], ...] = (
    ("smtp", (HELLO, *ENVELOPE, b"DATA\r\n", b"Subject: hi\r", b"\n\r\nhello\r\n", b".\r", b"\n", b"QUIT\r\n")),
    (
        "smtp",
        (b"EHL", b"O pc\r\n", *ENVELOPE, b"BDAT 9\r\n", b"Subj", b"ect:\r", b"BDAT 1 LAST\r\n", b"\n", b"RSET\r\n"),
    ),
    ("smtp", (HELLO, b"BDAT 100 LAST\r\n", b"some of it")),
    ("submission", (*SECURED, b"AUTH PLAIN\r\n", b64encode(b"\0alice@acme.example\0wonderland") + b"\r\n", *ENVELOPE)),
    ("submission", (*SECURED, b"AUTH SCRAM-SHA-256 biwsbj1hbGljZUBhY21lLmV4YW1wbGUscj1h\r\n", b"*\r\n")),
    ("submission", (*SECURED, b"AUTH LOGIN\r\n", b64encode(b"alice@acme.example") + b"\r\n", b"d3Jvbmc=\r\n")),
    ("submissions", (HELLO, b"XCLIENT ADDR=203.0.113.9 LOGIN=alice@acme.example\r\n", HELLO, *ENVELOPE)),
)


class LostTest(SynchronousTestCase):
    def setUp(self) -> None:
        path = Path(self.mktemp())
        made = settings(path)
        # One session at a time: one that is not forgotten keeps the next out.
        server = msgspec.structs.replace(made.server, max_connections=1, xclient_networks=(Network("192.0.2.7"),))
        tls = Tls(cert_file=Path("cert.pem"), key_file=Path("key.pem"))
        self.world = World(path, configured=msgspec.structs.replace(made, server=server, tls=tls))
        self.world.tls.configured = True
        self.world.host("alice@acme.example", "bob@acme.example")
        self.world.credential("alice@acme.example", "wonderland")

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])
        self.assertEqual(self.world.journal.of("session.surprise"), [])

    def lose(self, port: str, pieces: tuple[bytes | None, ...], way: Callable[[Line], None]) -> None:
        """Say these pieces, each as soon as the one before had its turns, and lose the connection."""
        line = self.world.call(port)
        if port == "submissions":
            line.start_tls()
        self.world.turn()
        self.assertIn(b"220 ", line.take())
        for piece in pieces:
            if piece is None:
                line.start_tls()
            else:
                line.send(piece)
            self.world.turn()
        self.assertNotIn(b"421 ", line.take())
        way(line)
        self.world.advance(30)
        self.assertTrue(line.closed)

    def test_whatever_the_state_nothing_is_left(self) -> None:
        self.world.advance(30)
        before = len(self.world.clock.getDelayedCalls())
        # With a slow directory replies are owed when it happens.
        for delay_seconds, way in product((0.0, 1.0), (Line.hang_up, Line.abort)):
            self.world.directory.delay_seconds = delay_seconds
            for port, pieces in TRANSCRIPTS:
                for said in range(len(pieces) + 1):
                    self.lose(port, pieces[:said], way)
                    self.assertEqual(len(self.world.clock.getDelayedCalls()), before, (port, pieces[:said]))
