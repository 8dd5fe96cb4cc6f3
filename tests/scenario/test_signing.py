"""Signatures on the whole server: what is submitted arrives signed, and whoever checks it believes it."""

from pathlib import Path

import dkim
import msgspec
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import Name, Network, RelayNetwork
from mtad.model.dkim import KeyState, record_text
from mtad.model.errors import Unavailable
from mtad.model.holdings import HeldKey
from mtad.model.identity import parse_id
from mtad.model.tenant import LmtpDelivery
from mtad.testing.scripted import ScriptedServer
from mtad.testing.world import World, settings
from mtad.verification.keys import generate

OFFICE = ("198.51.100.7", 40000)
PAIR = generate("rsa2048")
RECORD = record_text(PAIR.algorithm, PAIR.public_key).encode()
LETTER = b"Bcc: x@y.example\r\nFrom: Alice <alice@acme.example>\r\nSubject: a\r\n\tb\r\n\r\n..dotted \r\n\r\n\r\n"


class SigningTest(SynchronousTestCase):
    def setUp(self) -> None:
        path = Path(self.mktemp())
        made = settings(path)
        office = RelayNetwork(Network("198.51.100.0/24"), Name("acme"))
        server = msgspec.structs.replace(made.server, relay_networks=(office,))
        self.world = World(path, configured=msgspec.structs.replace(made, server=server))
        # dkimpy believes no signature from its future.
        self.world.wall.step(-200_000_000.0)
        self.world.host("alice@acme.example", "bob@acme.example")
        self.world.key(
            "acme.example", HeldKey("s1", PAIR.algorithm, PAIR.public_key, KeyState.ACTIVE, PAIR.private_key)
        )

    def submit(self, port: str = "submission", content: bytes = LETTER) -> bytes:
        """Hand a message in; return the answer to it."""
        line = self.world.connect(port, OFFICE)
        commands = b"EHLO pc.example\r\nMAIL FROM:<alice@acme.example>\r\nRCPT TO:<bob@acme.example>\r\nDATA\r\n"
        self.assertIn(b"354 ", self.world.say(line, commands))
        return self.world.say(line, content + b".\r\n")

    def test_what_is_submitted_arrives_with_a_signature_that_is_good(self) -> None:
        self.assertTrue(self.submit().startswith(b"250 "))
        (mail,) = self.world.mail("bob@acme.example")
        verifier = dkim.DKIM(mail.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        self.assertTrue(verifier.verify(dnsfunc=lambda name, timeout: RECORD))
        self.assertEqual((verifier.domain, verifier.selector), (b"acme.example", b"s1"))
        signed = [name.lower() for name, _ in verifier.signed_headers]
        for name in (b"from", b"subject", b"date", b"message-id"):
            self.assertIn(name, signed)

    def test_what_comes_from_outside_is_not_signed(self) -> None:
        self.assertTrue(self.submit("smtp").startswith(b"250 "))
        (mail,) = self.world.mail("bob@acme.example")
        self.assertNotIn(b"DKIM-Signature", mail)

    def bounced(self) -> tuple[bytes, dict[str, object]]:
        """Return the report of a message that nobody takes, and what its story tells of its signature."""
        self.world.host("x@store.example", organisation="store", delivery=LmtpDelivery("127.0.0.1:24"))
        self.world.network.serve("127.0.0.1:24", ScriptedServer(b"220 store\r\n", {b".": b"550 5.1.1 no\r\n"}))
        answer = self.world.send("x@store.example", sender="alice@acme.example", content=LETTER)
        self.world.advance(5)
        (report,) = self.world.mail("alice@acme.example")
        about = self.world.story(parse_id(answer.split()[-1].decode()))[-1].facts["report"]
        (signed,) = [event.facts for event in self.world.story(parse_id(str(about))) if event.kind == "signed"]
        return report, signed

    def give_the_server_a_key(self) -> None:
        self.world.host("postmaster@mx.test", organisation="system")
        key = HeldKey("s1", PAIR.algorithm, PAIR.public_key, KeyState.ACTIVE, PAIR.private_key)
        self.world.key("mx.test", key, organisation="system")

    def test_reports_are_signed_by_the_server(self) -> None:
        self.give_the_server_a_key()
        report, signed = self.bounced()
        verifier = dkim.DKIM(report.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        self.assertTrue(verifier.verify(dnsfunc=lambda name, timeout: RECORD))
        self.assertEqual(verifier.domain, b"mx.test")
        self.assertEqual((signed["domain"], signed["selectors"]), ("mx.test", ["s1"]))

    def test_without_a_key_of_the_servers_they_are_not_signed_and_say_why(self) -> None:
        report, signed = self.bounced()
        self.assertNotIn(b"\nDKIM-Signature", report)
        self.assertIn("domain is the sender's to sign for", str(signed["reason"]))

    def test_what_keeps_them_from_being_signed_does_not_keep_them(self) -> None:
        self.give_the_server_a_key()
        self.world.offload.fail_next(Unavailable("offload", "the process ended"))
        report, signed = self.bounced()
        self.assertNotIn(b"\nDKIM-Signature", report)
        self.assertEqual(signed["reason"], "offload: the process ended")

    def test_where_the_signature_cannot_be_made_the_message_is_to_come_again(self) -> None:
        self.world.offload.fail_next(Unavailable("offload", "the process ended"))
        self.assertEqual(self.submit()[:10], b"451 4.3.0 ")
        self.assertEqual(self.world.mail("bob@acme.example"), [])
        self.assertTrue(self.submit().startswith(b"250 "))
        self.assertEqual(len(self.world.mail("bob@acme.example")), 1)
