"""Large messages on the whole server: what is in the spool arrives like what is in memory, whatever the disk does."""

from pathlib import Path

import dkim
import msgspec
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import Name, Network, RelayNetwork
from mtad.model.dkim import record_text
from mtad.model.holdings import HeldKey
from mtad.model.tenant import SmtpDelivery
from mtad.testing.scripted import ScriptedServer
from mtad.testing.world import MINUTE, World, settings
from mtad.verification.keys import generate

LETTER = b"From: Alice <alice@acme.example>\r\nSubject: large\r\n\r\n" + b"..dotted and long enough\r\n" * 10_000
ON_DISK = LETTER.replace(b"\r\n..", b"\r\n.").replace(b"\r\n", b"\n")
OFFICE = ("198.51.100.7", 40000)
STORE = "192.0.2.25:2500"
PAIR = generate("ed25519")
RECORD = record_text(PAIR.algorithm, PAIR.public_key).encode()


class LargeTest(SynchronousTestCase):
    """In a world that keeps 1 000 octets of a content in memory."""

    def setUp(self) -> None:
        path = Path(self.mktemp())
        made = settings(path)
        office = RelayNetwork(Network("198.51.100.0/24"), Name("acme"))
        server = msgspec.structs.replace(made.server, relay_networks=(office,))
        self.world = World(path, configured=msgspec.structs.replace(made, server=server))
        self.world.spool.kept_octets = 1_000
        # dkimpy believes no signature from its future.
        self.world.wall.step(-200_000_000.0)
        self.world.host("alice@acme.example", "bob@acme.example")
        self.world.host("alice@store.example", delivery=SmtpDelivery(STORE))

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])

    def send(self, *recipients: str, port: str = "smtp") -> bytes:
        line = self.world.connect(port, OFFICE)
        commands = [b"EHLO pc.example", b"MAIL FROM:<alice@acme.example>"]
        commands += [b"RCPT TO:<%s>" % recipient.encode() for recipient in recipients]
        self.assertIn(b"354 ", self.world.say(line, b"\r\n".join([*commands, b"DATA", b""])))
        return self.world.say(line, LETTER + b".\r\n")

    def test_it_arrives_in_mailboxes_and_elsewhere(self) -> None:
        store = ScriptedServer(b"220 ready\r\n")
        self.world.network.serve(STORE, store)
        self.assertTrue(self.send("bob@acme.example", "alice@store.example").startswith(b"250"))
        (mail,) = self.world.mail("bob@acme.example")
        self.assertTrue(mail.endswith(ON_DISK))
        self.world.advance(MINUTE)
        (message,) = store.messages
        self.assertTrue(message.endswith(LETTER))

    def test_it_is_completed_and_signed(self) -> None:
        self.world.key("acme.example", HeldKey("s1", PAIR.algorithm, PAIR.public_key, private_key=PAIR.private_key))
        self.assertTrue(self.send("bob@acme.example", port="submission").startswith(b"250"))
        (mail,) = self.world.mail("bob@acme.example")
        verifier = dkim.DKIM(mail.replace(b"\n", b"\r\n"))
        self.assertTrue(verifier.verify(dnsfunc=lambda name, timeout: RECORD))
        self.assertIn(b"\nMessage-ID: <", mail)

    def test_it_comes_back_from_the_store_after_a_crash(self) -> None:
        self.world.offload.hold()
        self.assertTrue(self.send("bob@acme.example").startswith(b"250"))
        self.world.crash()
        next_one = self.world.another()
        next_one.spool.kept_octets = 1_000
        next_one.advance(MINUTE)
        (mail,) = next_one.mail("bob@acme.example")
        self.assertTrue(mail.endswith(ON_DISK))

    def test_without_room_it_is_read_to_its_end_and_refused_for_now(self) -> None:
        self.world.spool.full = True
        self.assertEqual(self.send("bob@acme.example")[:10], b"452 4.3.1 ")
        self.assertEqual(self.world.journal.of("store.unavailable")[0]["dependency"], "disk")
        self.assertEqual(self.world.journal.of("smtp.rejected")[0]["reason"], "storage-full")
        self.assertTrue(self.world.send("bob@acme.example").startswith(b"250"))
        self.world.spool.full = False
        self.assertTrue(self.send("bob@acme.example").startswith(b"250"))

    def test_what_cannot_be_read_again_is_not_accepted(self) -> None:
        self.world.spool.readable_octets = 0
        self.assertEqual(self.send("bob@acme.example")[:10], b"451 4.3.0 ")
        self.assertEqual(self.world.store.messages, {})

    def test_what_cannot_be_read_on_its_way_out_is_sent_later_and_never_cut(self) -> None:
        store = ScriptedServer(b"220 ready\r\n")
        self.world.network.serve(STORE, store)
        store.script[b"DATA"] = self.break_the_disk
        self.assertTrue(self.send("alice@store.example").startswith(b"250"))
        self.world.advance(MINUTE)
        self.assertEqual(store.messages, [])
        (deferred,) = self.world.journal.of("delivery.deferred")
        self.assertIn("cannot be read", str(deferred["detail"]))
        self.world.spool.readable_octets = None
        store.script[b"DATA"] = b"354 go on\r\n"
        self.world.advance(30 * MINUTE)
        (message,) = store.messages
        self.assertTrue(message.endswith(LETTER))

    def break_the_disk(self, session: object, line: bytes) -> bytes:
        self.world.spool.readable_octets = 100_000
        return b"354 go on\r\n"

    def test_what_cannot_be_read_into_a_mailbox_is_written_later_and_never_cut(self) -> None:
        self.world.offload.hold()
        self.assertTrue(self.send("bob@acme.example").startswith(b"250"))
        self.world.spool.readable_octets = 100_000
        self.world.offload.release()
        self.world.turn()
        self.assertEqual(self.world.mail("bob@acme.example"), [])
        self.assertEqual(len(self.world.journal.of("delivery.deferred")), 1)
        self.world.spool.readable_octets = None
        self.world.advance(30 * MINUTE)
        (mail,) = self.world.mail("bob@acme.example")
        self.assertTrue(mail.endswith(ON_DISK))

    def test_a_connection_lost_in_the_middle_leaves_nothing(self) -> None:
        line = self.world.connect()
        self.world.say(line, b"EHLO o.example\r\nMAIL FROM:<>\r\nRCPT TO:<bob@acme.example>\r\nDATA\r\n" + LETTER)
        line.hang_up()
        self.world.turn()
        self.assertEqual(self.world.store.messages, {})
