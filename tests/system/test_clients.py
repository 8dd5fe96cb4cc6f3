"""Mail that other people's clients send, on real ports: what they are told, and what is in the mailbox then."""

import json
import os
import ssl
import tempfile
from itertools import product
from pathlib import Path
from smtplib import SMTP, SMTP_SSL

from tests.contract.certificates import NAME
from tests.system import programs
from tests.system.clients import (
    ALICE,
    BOB,
    CROWDED,
    HOST,
    JÜRGEN,
    JÜRGENS_MAILDIR,
    PASSWORD,
    STRANGER,
    TEXT,
    ClientCase,
    Exim,
    letter,
    written,
)
from tests.system.programs import PATIENCE_SECONDS


class SwaksTest(ClientCase):
    def swaks(self, port: int, sender: str, subject: str, *words: str) -> str:
        """Send to bob with swaks and these words; return the dialogue as it printed it."""
        return self.send_with(
            "swaks", "--server", HOST, "--port", str(port), "--from", sender, "--to", BOB,
            "--data", written(subject, sender).rstrip(), *words,  # it ends the last line
        )  # fmt: skip

    def test_it_pipelines(self) -> None:
        said = self.swaks(self.server.smtp_port, STRANGER, "swaks pipelines", "--pipeline")
        self.assertLess(said.index("DATA\n"), said.index("250 2.1.0"), said)
        self.assert_arrived("swaks pipelines", "ESMTP")

    def test_tls(self) -> None:
        verify = ("--tls-verify", "--tls-ca-path", self.authority)
        said = self.swaks(self.server.smtp_port, STRANGER, "swaks by TLS", "--tls", "--pipeline", *verify)
        self.assertIn("TLS started with cipher TLSv1.3", said)
        self.assert_arrived("swaks by TLS", "ESMTPS")

    def test_auth(self) -> None:
        ports = {"--tls": self.server.submission_port, "--tlsc": self.server.submissions_port}
        for mechanism, (tls, port) in product(("PLAIN", "LOGIN"), ports.items()):
            subject = f"swaks {tls} by {mechanism}"
            login = ("--auth", mechanism, "--auth-user", ALICE, "--auth-password", PASSWORD)
            said = self.swaks(port, ALICE, subject, tls, *login)
            self.assertIn(f"AUTH {mechanism}", said)
            self.assert_arrived(subject, "ESMTPSA")


class SmtplibTest(ClientCase):
    def test_a_message_of_eight_bits(self) -> None:
        with SMTP(HOST, self.server.smtp_port, timeout=PATIENCE_SECONDS) as client:
            client.ehlo()
            self.assertTrue(client.has_extn("8bitmime"))
            client.send_message(letter("smtplib of eight bits"), mail_options=["BODY=8BITMIME"])
        self.assert_arrived("smtplib of eight bits", "ESMTP")

    def test_an_address_in_utf_8(self) -> None:
        with SMTP(HOST, self.server.smtp_port, timeout=PATIENCE_SECONDS) as client:
            client.send_message(letter("smtplib für Jürgen", to=JÜRGEN))
        mail = self.assert_arrived("smtplib für Jürgen", "UTF8SMTP", mailbox=JÜRGENS_MAILDIR)
        self.assertIn(f"\nTo: {JÜRGEN}\n".encode(), mail)

    def test_a_user(self) -> None:
        context = ssl.create_default_context(cafile=self.authority)
        context.check_hostname = False  # it would look for what it dials, an address
        with SMTP(HOST, self.server.submission_port, timeout=PATIENCE_SECONDS) as client:
            client.starttls(context=context)
            client.login(ALICE, PASSWORD)
            client.send_message(letter("smtplib by STARTTLS", ALICE))
        with SMTP_SSL(HOST, self.server.submissions_port, timeout=PATIENCE_SECONDS, context=context) as client:
            client.login(ALICE, PASSWORD)
            for number in range(3):
                client.send_message(letter(f"smtplib over TLS {number}", ALICE))
        for subject in ("smtplib by STARTTLS", *(f"smtplib over TLS {number}" for number in range(3))):
            self.assert_arrived(subject, "ESMTPSA")


class CurlTest(ClientCase):
    def curl(self, scheme: str, port: int, sender: str, *words: str, subject: str, to: str = BOB) -> str:
        """Send with curl, which checks the certificate; return what it printed."""
        return self.send_with(
            "curl", "--silent", "--show-error", "--verbose", "--crlf", "--ssl-reqd", "--cacert", self.authority,
            "--resolve", f"{NAME}:{port}:{HOST}", "--mail-from", sender, "--mail-rcpt", to, "--upload-file", "-",
            *words, f"{scheme}{NAME}:{port}/client.test",
            given=written(subject, sender),
        )  # fmt: skip

    def test_a_stranger(self) -> None:
        self.curl("smtp://", self.server.smtp_port, STRANGER, subject="curl to port 25")
        mail = self.assert_arrived("curl to port 25", "ESMTPS")
        self.assertIn(b"\nReceived: from client.test (", mail)

    def test_a_user(self) -> None:
        self.curl(
            "smtp://", self.server.submission_port, ALICE, "--user", f"{ALICE}:{PASSWORD}", subject="curl submits"
        )
        self.assert_arrived("curl submits", "ESMTPSA")

    def test_an_address_in_utf_8(self) -> None:
        subject = "curl in UTF-8"
        self.curl("smtp://", self.server.smtp_port, STRANGER, subject=subject, to=JÜRGEN)
        self.assert_arrived(subject, "UTF8SMTPS", mailbox=JÜRGENS_MAILDIR)


class MsmtpTest(ClientCase):
    def msmtp(self, port: int, subject: str, *words: str) -> str:
        """Send from alice to bob with msmtp, which checks the certificate; return what it printed."""
        return self.send_with(
            "msmtp", "--file=/dev/null", "--debug", f"--host={HOST}", f"--port={port}", "--tls=on",
            f"--tls-trust-file={self.authority}", f"--tls-host-override={NAME}", f"--user={ALICE}",
            "--passwordeval=printf %s \"alice's\"", f"--from={ALICE}", *words, BOB,
            given=written(subject, ALICE),
        )  # fmt: skip

    def test_plain(self) -> None:
        ports = {"on": self.server.submission_port, "off": self.server.submissions_port}
        for starttls, port in ports.items():
            subject = f"msmtp with STARTTLS {starttls}"
            said = self.msmtp(port, subject, f"--tls-starttls={starttls}", "--auth=plain")
            self.assertIn("AUTH PLAIN", said)
            self.assert_arrived(subject, "ESMTPSA")


class NodemailerTest(ClientCase):
    def nodemailer(self, server: dict[str, object], message: dict[str, object]) -> str:
        """Send with nodemailer, which checks the certificate; return what it was answered."""
        with open(self.authority) as authority:
            tls = {"ca": authority.read(), "servername": NAME}
        asked = {"server": {"host": HOST, "tls": tls, **server}, "message": message}
        script = Path(__file__).with_name("nodemailer.js")
        where = programs.needed("nodemailer/package.json").parent
        return self.send_with("node", script, where, json.dumps(asked))

    def test_a_user(self) -> None:
        servers: list[dict[str, object]] = [
            {"port": self.server.submission_port, "requireTLS": True},
            {"port": self.server.submissions_port, "secure": True},
        ]
        for server in servers:
            subject = f"nodemailer to {server['port']}"
            login = {"user": ALICE, "pass": PASSWORD}
            answer = self.nodemailer(
                {**server, "auth": login}, {"from": ALICE, "to": BOB, "subject": subject, "text": TEXT}
            )
            self.assertTrue(answer.startswith("250 2.0.0 "), answer)
            self.assert_arrived(subject, "ESMTPSA")

    def test_an_address_in_utf_8(self) -> None:
        self.nodemailer(
            {"port": self.server.submission_port, "requireTLS": True, "auth": {"user": ALICE, "pass": PASSWORD}},
            {"from": ALICE, "to": JÜRGEN, "subject": "nodemailer in UTF-8", "text": TEXT},
        )
        self.assert_arrived("nodemailer in UTF-8", "UTF8SMTPSA", mailbox=JÜRGENS_MAILDIR)


class PostfixToolsTest(ClientCase):
    def setUp(self) -> None:
        super().setUp()
        configuration = tempfile.TemporaryDirectory(prefix="mtad-test-")
        self.addCleanup(configuration.cleanup)
        # Accounts that are there where Postfix' own are not.
        Path(configuration.name, "main.cf").write_text("mail_owner = daemon\nsetgid_group = bin\n")
        self.patch(os, "environ", {**os.environ, "MAIL_CONFIG": configuration.name})

    def test_posttls_finger_verifies_all_ports(self) -> None:
        ports = {self.server.smtp_port: "-c", self.server.submission_port: "-c", self.server.submissions_port: "-wc"}
        for port, switches in ports.items():
            said = self.send_with(
                "posttls-finger", switches, "-l", "secure", "-F", self.authority, f"[{HOST}]:{port}", NAME
            )
            self.assertIn(f"Verified TLS connection established to {HOST}[{HOST}]:{port}: TLSv1.3 with cipher ", said)

    def test_smtp_source_sends_two_hundred_over_ten_sessions(self) -> None:
        self.send_with(
            "smtp-source", "-s", "10", "-m", "200", "-l", "2000", "-S", "many", "-f", STRANGER, "-t", CROWDED,
            f"inet:{HOST}:{self.server.smtp_port}",
        )  # fmt: skip
        while len(mails := self.server.mail(CROWDED)) < 200:
            self.server.wait_for("delivery.delivered")
        self.assertEqual(len(set(mails)), 200)
        self.assertTrue(all(b"\nSubject: many\n" in mail and len(mail) > 2000 for mail in mails))


class EximTest(ClientCase):
    def test_it_sends_by_bdat(self) -> None:
        exim = Exim(self.server.smtp_port, self.authority)
        self.addCleanup(exim.close)
        text = TEXT * 4000
        logged = exim.send(letter("Exim", text=text))
        self.assertIn(f"=> {BOB} R=all T=there H={HOST} [{HOST}] X=TLS1.3:", logged)
        self.assertIn(" CV=yes K C=", logged)  # K: it said BDAT instead of DATA
        self.assert_arrived("Exim", "ESMTPS", text)
