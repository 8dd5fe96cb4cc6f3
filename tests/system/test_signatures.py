"""What a real server signs, before the judges of others: dkimpy, Perl's Mail::DKIM and OpenDKIM."""

import json
import os
import smtplib
import subprocess
import tempfile
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import ClassVar

import dkim
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.system import own_dns, programs
from tests.system.server import PATIENCE_SECONDS, RunningServer

ALICE, BOB = "alice@acme.example", "bob@acme.example"
SCRIPT = Path(__file__).with_name("mail_dkim.pl")
TEXTS = {
    "plain": "hello\n",
    "empty": "",
    "odd": "two  spaces \t and a tab\t\n\n.\n..dots\nlast \n\n\n",
    "long": "x" * 990 + "\n" + "Grüße aus der Ferne\n" * 50,
}


def tenants() -> object:
    keys = [{"selector": "a-rsa", "algorithm": "rsa2048"}, {"selector": "b-ed", "algorithm": "ed25519"}]
    mailboxes = [{"local_part": "alice", "password": "secret"}, {"local_part": "bob"}]
    return {
        "organisations": [
            {
                "name": "acme",
                "domains": [{"name": "acme.example", "verified": True, "dkim": keys, "mailboxes": mailboxes}],
            }
        ]
    }


@cache
def signed() -> tuple[dict[str, bytes], dict[str, str]]:
    """Return letters as they arrived, by name, and the texts of their keys' records."""
    server = RunningServer({"tls": {"enabled": False}})
    try:
        server.apply(tenants())
        listed = json.loads(server.mtactl("dkim", "list", "acme.example", "--json"))
        server.start()
        with smtplib.SMTP("127.0.0.1", server.submission_port, timeout=PATIENCE_SECONDS) as client:
            client.login(ALICE, "secret")
            for name, text in TEXTS.items():
                client.send_message(_letter(name, text), ALICE, [BOB])
        for _ in TEXTS:
            server.wait_for("delivery.delivered")
        mails = [mail.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for mail in server.mail(BOB)]
    finally:
        server.close()
    letters = {name: next(mail for mail in mails if f"Subject: {name}".encode() in mail) for name in TEXTS}
    return letters, {key["name"]: key["text"] for key in listed}


def _letter(name: str, text: str) -> EmailMessage:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = f"Alice Ä <{ALICE}>", BOB, name
    letter["Reply-To"] = ALICE
    letter.set_content(text, cte="8bit")
    return letter


class JudgeCase(SynchronousTestCase):
    """Each judge is shown what was signed, and the same with a word changed in the header or in the body."""

    FORGERIES: ClassVar = (
        (b"Subject: plain", b"Subject: plan"),
        (b"\r\nhello", b"\r\nhallo"),
        (b"Reply-To: a", b"To: a"),
    )

    def setUp(self) -> None:
        self.letters, self.records = signed()

    def forged(self) -> list[bytes]:
        return [self.letters["plain"].replace(was, becomes, 1) for was, becomes in self.FORGERIES]


class DkimpyTest(JudgeCase):
    def good(self, letter: bytes) -> list[tuple[str, bool]]:
        def txt(name: bytes, timeout: int) -> bytes:
            return self.records[name.decode().removesuffix(".")].encode()

        found = []
        for number in range(2):
            verifier = dkim.DKIM(letter)
            try:
                good = verifier.verify(number, dnsfunc=txt)
            except dkim.ValidationError:
                good = False
            found.append((verifier.selector.decode(), good))
        return sorted(found)

    def test_it_believes_both(self) -> None:
        for name, letter in self.letters.items():
            self.assertEqual(self.good(letter), [("a-rsa", True), ("b-ed", True)], name)
        for letter in self.forged():
            self.assertEqual(self.good(letter), [("a-rsa", False), ("b-ed", False)])


class MailDkimTest(JudgeCase):
    def judged(self, letter: bytes) -> dict[str, str]:
        """Return what is said of the signature of each selector; of Ed25519 the Perl of Debian knows nothing."""
        programs.needed("Mail/DKIM.pm")
        with tempfile.NamedTemporaryFile("w") as zone:
            zone.writelines(f"{name} {text}\n" for name, text in self.records.items())
            zone.flush()
            done = subprocess.run(
                ["perl", SCRIPT, zone.name],
                input=letter,
                capture_output=True,
                check=True,
                env=programs.environment(),
                timeout=PATIENCE_SECONDS,
            )
        return dict(line.split(" ", 1) for line in done.stdout.decode().splitlines())

    def test_it_believes_the_one_it_can_check(self) -> None:
        for name, letter in self.letters.items():
            judged = self.judged(letter)
            self.assertEqual(judged["a-rsa"], "pass", name)
            self.assertRegex(judged["b-ed"], "^(pass|invalid .unsupported algorithm.*)$", name)
        for letter in self.forged():
            self.assertRegex(self.judged(letter)["a-rsa"], "^fail ")


class OpenDkimTest(JudgeCase):
    def status(self, letter: bytes) -> int:
        program = programs.needed("opendkim-testmsg")
        done = subprocess.run(
            own_dns.command(self.records, [program, "-C"]),
            input=letter,
            capture_output=True,
            check=False,
            env={**os.environ, **programs.environment()},
            cwd=Path(__file__).parents[2],
            timeout=PATIENCE_SECONDS,
        )
        self.assertIn(done.returncode, (0, 70), done.stderr)
        return done.returncode

    def test_it_believes_the_one_it_can_check(self) -> None:
        if not own_dns.possible():
            raise SkipTest("this machine lets nobody have namespaces, where opendkim-testmsg would find the records")
        for name, letter in self.letters.items():
            self.assertEqual(self.status(letter), 0, name)
        for letter in self.forged():
            self.assertEqual(self.status(letter), 70)
