"""Who mail is from, on real ports, with a real name server and messages that swaks sends."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import dkim
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.dkim import record_text
from mtad.verification.keys import generate
from tests.system import programs
from tests.system.server import RunningServer
from tests.system.zone import NameServerProcess

KEY = generate("rsa2048")
ZONE = {
    "sender.example": ["TXT v=spf1 ip4:127.0.0.1 -all"],
    "_dmarc.sender.example": ["TXT v=DMARC1; p=reject; adkim=s; aspf=s"],
    "s1._domainkey.sender.example": [f"TXT {record_text(KEY.algorithm, KEY.public_key)}"],
    "bank.example": ["TXT v=spf1 -all"],
    "_dmarc.bank.example": ["TXT v=DMARC1; p=reject"],
    "_dmarc.shop.example": ["TXT v=DMARC1; p=quarantine"],
    "1.0.0.127.in-addr.arpa": ["PTR localhost.example"],
    "localhost.example": ["A 127.0.0.1"],
}
ENFORCED = {"spf": "enforce", "dkim": "enforce", "dmarc": "enforce", "authserv_id": "acme.example"}


def signed(content: bytes) -> bytes:
    """Return a message with dkimpy's signature on top."""
    private = load_pem_private_key(KEY.private_key, None)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    made: bytes = dkim.sign(
        content, b"s1", b"sender.example", pem, canonicalize=(b"relaxed", b"relaxed"), include_headers=[b"from", b"to"]
    )
    return made + content


class IdentityTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.names = NameServerProcess(ZONE)
        self.addCleanup(self.names.close)
        dns = {"servers": [self.names.place], "timeout": "1s"}
        self.server = RunningServer({"dns": dns, "verification": ENFORCED})
        self.addCleanup(self.server.close)
        self.server.start()
        self.server.apply()

    def swaks(self, sender: str, content: bytes | None = None, *words: str) -> "CompletedProcess[str]":
        data: tuple[str, ...] = ()
        if content is not None:
            file = Path(self.mktemp())
            file.write_bytes(content)
            data = ("--data", f"@{file}")
        return programs.run(
            "swaks", "--server", f"127.0.0.1:{self.server.smtp_port}", "--helo", "mx.sender.example",
            "--from", sender, "--to", "alice@acme.example", *data, *words,
        )  # fmt: skip

    def test_what_is_who_it_says_it_is(self) -> None:
        content = b"From: ann@sender.example\r\nTo: alice@acme.example\r\nSubject: hi\r\n\r\nhello\r\n"
        done = self.swaks("ann@sender.example", signed(content))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.server.wait_for("delivery.delivered")
        (mail,) = self.server.mail("alice@acme.example")
        results = mail.partition(b"Authentication-Results: acme.example;")[2].partition(b"\nReceived-SPF: pass ")[0]
        for result in (
            b"spf=pass (matched ip4:127.0.0.1) smtp.mailfrom=ann@sender.example",
            b"dkim=pass header.d=sender.example header.s=s1 header.a=rsa-sha256",
            b"dmarc=pass (p=reject) header.from=sender.example",
            b"iprev=pass (localhost.example) policy.iprev=127.0.0.1",
        ):
            self.assertIn(result, results)
        told = self.server.mtactl("trace", "ann@sender.example")
        self.assertRegex(told, r"(?m)^  .* verified +rule=acme.example: identity  spf=pass mailfrom=sender.example")
        self.assertIn("TXT of _dmarc.sender.example: ", told)

    def test_what_is_not(self) -> None:
        forged = self.swaks("boss@bank.example")
        self.assertNotEqual(forged.returncode, 0)
        self.assertIn("<** 550 5.7.1 DMARC: bank.example does not recognise this message as its own", forged.stdout)
        refused = self.server.wait_for("smtp.rejected")
        self.assertEqual((refused["reason"], refused["stage"]), ("dmarc-fail", "message"))
        self.assertIn('TXT of _dmarc.bank.example: "v=DMARC1; p=reject"', refused["dns"])
        unsent = self.swaks("boss@bank.example", b"From: ann@third.example\r\nSubject: hi\r\n\r\nhello\r\n")
        self.assertIn("<** 550 5.7.23 ", unsent.stdout)

    def test_the_quarantine(self) -> None:
        done = self.swaks("ann@shop.example")
        self.assertEqual(done.returncode, 0, done.stdout)
        (kept,) = json.loads(self.server.mtactl("queue", "list", "--status", "quarantined", "--json"))
        self.assertEqual(kept["recipients"][0]["recipient"], "alice@acme.example")
        self.assertEqual(self.server.mail("alice@acme.example"), [])
        self.server.mtactl("queue", "release", kept["id"])
        self.server.wait_for("delivery.delivered")
        (mail,) = self.server.mail("alice@acme.example")
        self.assertIn(b"dmarc=fail (p=quarantine; ", mail)

    def test_without_a_name_server_nothing_is_a_pass(self) -> None:
        self.names.close()
        done = self.swaks("ann@sender.example")
        self.assertIn("<** 451 4.7.", done.stdout)
