"""Users that send: swaks and smtplib with a login over TLS, a machine without one, and all of it by a smarthost."""

from base64 import b64encode
from smtplib import SMTP
from subprocess import CompletedProcess

from aiosmtpd.smtp import SMTP as PEER
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from tests.system import programs
from tests.system.sending import AIOSMTPD, PORT, SendingCase, Taker, tenants
from tests.system.server import RunningServer

LOGIN = b"\0alice@acme.example\0alice's"


class SwaksTest(SendingCase):
    def swaks(self, *words: str) -> CompletedProcess[str]:
        """Send from alice to ann elsewhere with swaks, which is given these words beside."""
        server = f"127.0.0.1:{self.server.submission_port}"
        return programs.run("swaks", "--server", server, "--from", "alice@acme.example", *words)

    def test_swaks_logs_in_over_tls_by_either_mechanism(self) -> None:
        taker = Taker()
        self.serve(taker)
        for mechanism in ("PLAIN", "LOGIN"):
            recipient = f"{mechanism.lower()}@aio.example"
            done = self.swaks(
                "--tls", "--auth", mechanism, "--auth-user", "alice@acme.example", "--auth-password", "alice's",
                "--to", recipient,
            )  # fmt: skip
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.wait_lines("delivery.delivered", recipient)
        self.assertEqual(
            [envelope.rcpt_tos for envelope in taker.envelopes], [["plain@aio.example"], ["login@aio.example"]]
        )
        self.assertIn(b"\r\n\tby mx.test with ESMTPSA ", bytes(taker.envelopes[0].content))

    def test_swaks_is_refused_without_tls_without_login_and_as_somebody_else(self) -> None:
        login = ("--auth-user", "alice@acme.example", "--auth-password", "alice's")
        for words, said in (
            ((*login, "--to", "ann@aio.example"), "Host did not advertise authentication"),
            (("--tls", "--to", "ann@aio.example"), "530 5.7.0"),
            (("--tls", *login[:3], "bob's", "--to", "ann@aio.example"), "535 5.7.8"),
            (("--tls", *login, "--from", "bob@acme.example", "--to", "ann@aio.example"), "553 5.7.1"),
        ):
            done = self.swaks(*words)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(said, done.stdout + done.stderr)


class SmtplibTest(SendingCase):
    def test_the_sender_learns_from_a_report_what_the_remote_server_said(self) -> None:
        self.serve(Taker({"no@aio.example": ["550 5.7.1 not you"]}))
        self.submit("no@aio.example", subject="unwanted")
        text, fields = self.report_about("no@aio.example")
        self.assertIn("550 5.7.1 not you", text)
        self.assertEqual((fields["Action"], fields["Status"]), ("failed", "5.7.1"))
        self.assertEqual(fields["Remote-MTA"].removeprefix("dns;").strip(), "mx.aio.example")

    def test_nobody_logs_in_where_all_can_listen(self) -> None:
        with SMTP("127.0.0.1", self.server.submission_port) as client:
            client.ehlo()
            self.assertFalse(client.has_extn("auth"))
            code, _ = client.docmd("AUTH", f"PLAIN {b64encode(LOGIN).decode()}")
            self.assertEqual(code // 100, 5)
            self.assertEqual(client.mail("alice@acme.example")[0], 530)


class SmarthostTest(SendingCase):
    """A server of its own, whose organisation's machines submit without a login, and whose mail all goes one way."""

    def setUp(self) -> None:
        relay = {"addr": f"{AIOSMTPD}:{PORT}", "username": "mtad", "password": "secret", "tls": "encrypt"}
        self.server = RunningServer(
            {
                "server": {"relay_networks": [{"network": "loopback", "organisation": "acme"}]},
                "delivery": {"relay": relay},
                "tls": {"enabled": False},
            }
        )
        self.addCleanup(self.server.close)
        self.server.apply(tenants())
        self.server.start()

    def test_a_machine_submits_without_login_and_the_smarthost_is_logged_in_to(self) -> None:
        logins: list[tuple[bytes, bytes, bool]] = []

        def authenticate(
            _server: PEER, session: Session, _envelope: Envelope, _mechanism: str, data: LoginPassword
        ) -> AuthResult:
            logins.append((data.login, data.password, session.ssl is not None))
            return AuthResult(success=True)

        taker = Taker()
        self.serve_tls(taker, authenticator=authenticate, auth_required=True)
        with SMTP("127.0.0.1", self.server.submission_port) as client:
            client.sendmail(
                "printer@acme.example", ["ann@far.example", "tim@away.example"], b"Subject: page\r\n\r\nx\r\n"
            )
        self.wait_lines("delivery.delivered", "ann@far.example", "tim@away.example")
        self.assertEqual(set(logins), {(b"mtad", b"secret", True)})
        self.assertEqual(
            sorted(address for envelope in taker.envelopes for address in envelope.rcpt_tos),
            ["ann@far.example", "tim@away.example"],
        )
