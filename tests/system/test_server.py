"""The whole server in a process of its own, on real ports, with the clients people have."""

import atexit
import json
import smtplib
import urllib.error
import urllib.request
from email.message import EmailMessage
from functools import cache

from twisted.trial.unittest import SynchronousTestCase

from tests.system import programs
from tests.system.server import RunningServer


def letter(to: str, subject: str = "hi") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@outside.example", to, subject
    message.set_content("Grüße aus der Ferne\n.\n..dots\n", cte="8bit")
    return message


@cache
def running() -> RunningServer:
    """Return the one server of this module: what its tests send differs."""
    server = RunningServer({"tls": {"enabled": False}})
    atexit.register(server.close)
    server.apply()
    return server.start()


class ServerTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = running()

    def get(self, page: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.http_port}{page}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def test_smtplib_sends_and_the_mailbox_has_it(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as client:
            client.send_message(letter("bob@acme.example", "from smtplib"), mail_options=["BODY=8BITMIME"])
        while not (found := [mail for mail in self.server.mail("bob@acme.example") if b"from smtplib" in mail]):
            self.server.wait_for("delivery.delivered")
        (mail,) = found
        self.assertTrue(mail.endswith("Grüße aus der Ferne\n.\n..dots\n".encode()))
        self.assertTrue(mail.startswith(b"Return-Path: <ann@outside.example>\nDelivered-To: bob@acme.example\n"))

    def test_smtplib_logs_in_and_submits(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.submission_port) as client:
            with self.assertRaises(smtplib.SMTPAuthenticationError) as refused:
                client.login("alice@acme.example", "bob's")
            self.assertEqual(refused.exception.smtp_code, 535)
            client.login("alice@acme.example", "alice's")
            refusals = client.sendmail(
                "alice@acme.example", ["bob@acme.example", "nobody@acme.example"], b"S: mine\r\n"
            )
        self.assertEqual({address: code for address, (code, _) in refusals.items()}, {"nobody@acme.example": 550})
        while not (found := [mail for mail in self.server.mail("bob@acme.example") if b"S: mine" in mail]):
            self.server.wait_for("delivery.delivered")
        self.assertIn(b"with ESMTPA id ", found[0])
        self.assertIn(b"\nMessage-ID: <", found[0])

    def test_smtplib_is_told_who_is_unknown(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as client:
            refused = client.sendmail(
                "ann@outside.example",
                ["nobody@acme.example", "x@elsewhere.example", "sales@acme.example"],
                b"S: x\r\n\r\nx",
            )
        self.assertEqual(
            {who: code for who, (code, _) in refused.items()}, {"nobody@acme.example": 550, "x@elsewhere.example": 554}
        )

    def test_swaks_sends_and_mtactl_tells_the_story(self) -> None:
        done = programs.run(
            "swaks", "--server", f"127.0.0.1:{self.server.smtp_port}", "--from", "ann@outside.example",
            "--to", "alice@acme.example", "--header", "Message-Id: <swaks-1@outside.example>",
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        queued = next(line for line in done.stdout.splitlines() if "queued as" in line).split()[-1]
        while self.server.wait_for("delivery.delivered")["id"] != queued:
            pass
        for key in (queued, "<swaks-1@outside.example>", "alice@acme.example"):
            story = self.server.mtactl("trace", key)
            for word in (queued, "received", "routed", "delivered", "alice@acme.example"):
                self.assertIn(word, story)

    def test_health_ready_and_metrics(self) -> None:
        self.assertEqual(self.get("/health")[0], 200)
        status, page = self.get("/ready")
        self.assertEqual((status, json.loads(page)["dependencies"]), (200, {"postgres": "ok", "redis": "ok"}))
        _, metrics = self.get("/metrics")
        for name in (
            "smtp_connections_total", "smtp_connections_active", "smtp_messages_received_total",
            "smtp_messages_rejected_total", "smtp_message_size_bytes_bucket",
        ):  # fmt: skip
            self.assertIn(f"\n{name}", metrics)
        self.assertEqual(self.get("/nothing")[0], 404)

    def test_a_change_by_mtactl_reaches_the_running_server(self) -> None:
        def code() -> int:
            with smtplib.SMTP("127.0.0.1", self.server.smtp_port) as client:
                client.ehlo()
                client.mail("ann@outside.example")
                return client.rcpt("carol@late.example")[0]

        self.assertEqual(code(), 554)
        self.server.apply(
            {
                "organisations": [
                    {
                        "name": "late",
                        "domains": [{"name": "late.example", "verified": True, "mailboxes": [{"local_part": "carol"}]}],
                    }
                ]
            }
        )
        # The notification may be a moment behind; asking again is how a peer would notice.
        self.assertIn(250, (code() for _ in range(200)))
