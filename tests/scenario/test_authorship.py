"""The From field of what is handed in, on the whole server: who may stand in it, and who does where nobody did."""

from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import Name, Network, RelayNetwork, Tls
from mtad.testing.network import Line
from mtad.testing.world import World, settings

HERE, OFFICE = ("127.0.0.1", 40000), ("198.51.100.7", 40000)
REFUSED = b"550 5.7.1 Not permitted to send as an address in the From field\r\n"


class AuthorshipTest(SynchronousTestCase):
    def setUp(self) -> None:
        path = Path(self.mktemp())
        made = settings(path)
        office = RelayNetwork(Network("198.51.100.0/24"), Name("acme"))
        server = msgspec.structs.replace(made.server, relay_networks=(office,))
        self.world = World(path, configured=msgspec.structs.replace(made, server=server, tls=Tls(enabled=False)))
        self.host()
        self.world.host("eve@other.example", organisation="other")

    def host(self, check_from: bool = True) -> None:
        self.world.host("alice@acme.example", "bob@acme.example", check_from=check_from)
        self.world.credential("alice@acme.example", "secret", send_as=("news@acme.example",))

    def alice(self) -> Line:
        line = self.world.connect("submission", HERE)
        said = self.world.say(line, b"EHLO pc\r\nAUTH PLAIN AGFsaWNlQGFjbWUuZXhhbXBsZQBzZWNyZXQ=\r\n")
        self.assertIn(b"235 2.7.0", said)
        return line

    def printer(self) -> Line:
        line = self.world.connect("submission", OFFICE)
        self.world.say(line, b"EHLO pc\r\n")
        return line

    def submit(self, line: Line, header: bytes, sender: bytes = b"alice@acme.example") -> bytes:
        self.world.say(line, b"MAIL FROM:<%s>\r\nRCPT TO:<bob@acme.example>\r\nDATA\r\n" % sender)
        return self.world.say(line, header + b"\r\n\r\nhello\r\n.\r\n")

    def test_only_who_may_send_as_an_address_stands_in_from(self) -> None:
        line = self.alice()
        for header, taken in (
            (b"From: Alice <ALICE@acme.example>", True),
            (b"From: news@acme.example, alice@acme.example", True),
            (b"From: alice@acme.example\r\nFrom: news@acme.example", True),
            (b"From: bob@acme.example", False),
            (b"From: alice@acme.example, bob@acme.example", False),
            (b"From: alice@acme.example\r\nfrom : bob@acme.example", False),
            (b"From: ceo@far.example", False),
            (b"From: eve@other.example", False),
        ):
            answer = self.submit(line, header)
            self.assertEqual(answer[:4] == b"250 ", taken, header)
            if not taken:
                self.assertEqual(answer, REFUSED, header)
        reasons = {facts["reason"] for facts in self.world.journal.of("smtp.rejected")}
        self.assertEqual(reasons, {"author-not-permitted"})

    def test_what_cannot_be_read_is_refused(self) -> None:
        line = self.alice()
        for header in (b"From: alice@acme.example <ceo@far.example>", b"From: x:;", b"From: alice@acme.example ("):
            self.assertEqual(self.submit(line, header), b"550 5.7.1 The From field of the message cannot be read\r\n")
        self.assertEqual(self.submit(line, b"From:")[:34], b"550 5.7.1 The message has no From ")

    def test_a_domain_may_let_its_people_be_anybody_but_never_somebody_elses_here(self) -> None:
        self.host(check_from=False)
        line = self.alice()
        for header in (b"From: bob@acme.example", b"From: ceo@far.example"):
            self.assertEqual(self.submit(line, header)[:4], b"250 ", header)
        self.assertEqual(self.submit(line, b"From: bob@acme.example, eve@other.example"), REFUSED)

    def test_a_machine_of_the_organisation_is_anybody_there(self) -> None:
        line = self.printer()
        self.assertEqual(self.submit(line, b"From: bob@acme.example")[:4], b"250 ")
        self.assertEqual(self.submit(line, b"From: bob@acme.example", b"")[:4], b"250 ")
        for sender in (b"alice@acme.example", b""):
            self.assertEqual(self.submit(line, b"From: ceo@far.example", sender), REFUSED)
        self.assertEqual(self.submit(line, b"Subject: x", b"")[:34], b"550 5.7.1 The message has no From ")

    def test_who_says_nothing_is_who_they_are(self) -> None:
        for sender in (b"news@acme.example", b""):
            self.assertEqual(self.submit(self.alice(), b"Subject: x", sender)[:4], b"250 ")
        news, own = self.world.mail("bob@acme.example")
        self.assertIn(b"\nFrom: news@acme.example\n", news)
        self.assertIn(b"\nFrom: alice@acme.example\n", own)

    def test_without_the_directory_it_comes_again(self) -> None:
        line = self.alice()
        self.world.say(line, b"MAIL FROM:<alice@acme.example>\r\nRCPT TO:<bob@acme.example>\r\nDATA\r\n")
        self.world.directory.reachable = False
        self.assertEqual(self.world.say(line, b"From: alice@acme.example\r\n\r\nx\r\n.\r\n")[:10], b"451 4.3.0 ")

    def test_what_comes_from_outside_is_from_anybody(self) -> None:
        content = b"From: alice@acme.example, x: y;\r\n\r\nhello\r\n"
        self.assertEqual(self.world.send("bob@acme.example", content=content)[:4], b"250 ")
