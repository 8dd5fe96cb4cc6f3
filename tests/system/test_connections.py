"""Connections to real ports by programs of others: TLS from the first octet, names, proxies, who is turned away."""

import json
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from smtplib import SMTP, SMTP_SSL
from subprocess import CompletedProcess
from types import MappingProxyType
from urllib.request import urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests.contract.certificates import write_certificate
from tests.system import programs
from tests.system.server import RunningServer

BALANCER, STRANGER, PROXY = "127.0.0.5", "127.0.0.6", "127.0.0.7"
LOGIN = ("--auth", "PLAIN", "--auth-user", "alice@acme.example", "--auth-password", "alice's")
SOURCE = ("--proxy-source", "203.0.113.9", "--proxy-source-port", "40001", "--proxy-dest", "192.0.2.1",
          "--proxy-dest-port", "25")  # fmt: skip
HEADERS = {"1": ("--proxy-family", "TCP4"), "2": ("--proxy-family", "AF_INET")}


class ConnectionsCase(SynchronousTestCase):
    """Tests with a server of their own."""

    sections: Mapping[str, Mapping[str, object]] = MappingProxyType({})

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        default = self.certificate("default", "mx.test")
        shop = self.certificate("shop", "mx.shop.example")
        certificates = [{"cert_file": str(shop[0]), "key_file": str(shop[1])}]
        tls = {"cert_file": str(default[0]), "key_file": str(default[1]), "certificates": certificates}
        self.server = RunningServer({"tls": tls, **self.sections})
        self.addCleanup(self.server.close)
        self.server.start()
        self.server.apply()

    def certificate(self, place: str, *names: str) -> tuple[Path, Path]:
        """Write a certificate for these names to a place."""
        directory = self.directory / place
        directory.mkdir(exist_ok=True)
        return write_certificate(directory, names=names)

    def swaks(self, port: int, *words: str, source: str = STRANGER) -> "CompletedProcess[str]":
        """Send from alice to bob with swaks, from that address."""
        return programs.run(
            "swaks", "--server", f"127.0.0.1:{port}", "--local-interface", source, "--helo", "pc.example",
            "--from", "alice@acme.example", "--to", "bob@acme.example", *words,
        )  # fmt: skip

    def sent(self, port: int, *words: str, source: str = STRANGER) -> str:
        """Send, and return what bob gets, the last Received field on one line."""
        done = self.swaks(port, *words, source=source)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.server.wait_for("delivery.delivered")
        mail = max(self.server.mail("bob@acme.example"), key=lambda mail: mail.split(b" id ")[1])
        return " ".join(mail.decode().split())

    def call(self, port: int, source: str = STRANGER) -> socket.socket:
        """Connect from an address."""
        connection = socket.create_connection(("127.0.0.1", port), programs.PATIENCE_SECONDS, (source, 0))
        self.addCleanup(connection.close)
        return connection

    def heard(self, connection: socket.socket) -> bytes:
        """Return all that comes until the server closes."""
        octets = b""
        try:
            while more := connection.recv(4096):
                octets += more
        except ConnectionResetError:
            pass
        return octets


class TlsTest(ConnectionsCase):
    def shown(self, name: str | None) -> bytes | None:
        """Return the certificate a client sees that asks for a name."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(self.call(self.server.submissions_port), server_hostname=name) as connection:
            return connection.getpeercert(binary_form=True)

    def of(self, place: str) -> bytes:
        return ssl.PEM_cert_to_DER_cert((self.directory / place / "cert.pem").read_text())

    def test_users_log_in_where_tls_comes_first(self) -> None:
        mail = self.sent(self.server.submissions_port, "--tls-on-connect", *LOGIN)
        self.assertIn("by mx.test with ESMTPSA (TLSv1.3) id", mail)
        context = ssl.create_default_context(cafile=str(self.directory / "default" / "cert.pem"))
        context.check_hostname = False
        with SMTP_SSL("127.0.0.1", self.server.submissions_port, context=context) as client:
            client.login("alice@acme.example", "alice's")
            self.assertFalse(client.has_extn("starttls"))
            self.assertEqual(
                client.sendmail("alice@acme.example", ["bob@acme.example"], b"Subject: hi\r\n\r\nhi\r\n"), {}
            )

    def test_a_client_of_tls_1_1_is_refused_one_of_1_2_is_not(self) -> None:
        for version, taken in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
            try:
                with context.wrap_socket(self.call(self.server.submissions_port)) as connection:
                    self.assertEqual(connection.recv(4), b"220 ")
                    spoken = True
            except ssl.SSLError:
                spoken = False
            self.assertEqual(spoken, taken, version)

    def test_each_name_has_its_certificate(self) -> None:
        self.assertEqual(self.shown("mx.shop.example"), self.of("shop"))
        for name in ("mx.test", "nobody.example", None):
            self.assertEqual(self.shown(name), self.of("default"))

    def test_new_files_are_shown_broken_ones_are_told_of_and_sessions_go_on(self) -> None:
        context = ssl.create_default_context(cafile=str(self.directory / "default" / "cert.pem"))
        context.check_hostname = False
        kept = self.of("shop")
        with SMTP_SSL("127.0.0.1", self.server.submissions_port, context=context) as client:
            self.certificate("default", "mx.test")
            (self.directory / "shop" / "key.pem").write_text("nothing\n")
            self.server.wait_for("tls.certificate_broken")
            self.assertEqual(client.noop()[0], 250)
        self.assertIn("tls.certificate_loaded", [line.get("event") for line in self.server.log])
        self.assertEqual(self.shown(None), self.of("default"))
        self.assertEqual(self.shown("mx.shop.example"), kept)
        with urlopen(f"http://127.0.0.1:{self.server.http_port}/ready") as answer:
            ready = json.load(answer)
        self.assertTrue(ready["ready"])
        self.assertIn("unencrypted private key", ready["certificates"][str(self.directory / "shop" / "cert.pem")])
        with urlopen(f"http://127.0.0.1:{self.server.http_port}/metrics") as answer:
            self.assertIn(b"\ntls_certificates_broken 1.0\n", answer.read())


class ProxyTest(ConnectionsCase):
    sections = MappingProxyType({"server": {"proxy_protocol_networks": [BALANCER]}})

    def test_the_source_is_who_sent_it(self) -> None:
        for version, family in HEADERS.items():
            for port, words in (
                (self.server.smtp_port, ()),
                (self.server.smtp_port, ("--tls",)),
                (self.server.submission_port, ("--tls", *LOGIN)),
            ):
                mail = self.sent(port, "--proxy-version", version, *family, *SOURCE, *words, source=BALANCER)
                self.assertIn("from pc.example ([203.0.113.9]) by mx.test with ESMTP", mail)
                self.assertEqual("with ESMTPSA" in mail, "--auth" in words)

    def test_the_header_comes_before_tls(self) -> None:
        connection = self.call(self.server.submissions_port, BALANCER)
        connection.sendall(b"PROXY TCP4 203.0.113.9 192.0.2.1 40001 465\r\n")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(connection) as secured:
            self.assertEqual(secured.recv(4), b"220 ")

    def test_nobody_else_may_and_a_balancer_must(self) -> None:
        for source, words in ((STRANGER, b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\r\n"), (BALANCER, b"EHLO a\r\n")):
            connection = self.call(self.server.smtp_port, source)
            greeting = connection.recv(4096) if source == STRANGER else b""
            self.assertEqual(greeting[:4], b"220 " if source == STRANGER else b"")
            connection.sendall(words)
            self.assertEqual(self.heard(connection), b"")
            self.assertEqual(self.server.wait_for("smtp.rejected")["reason"], "proxy-header")
        connection = self.call(self.server.smtp_port, BALANCER)
        self.assertEqual(self.heard(connection), b"")
        self.assertIn("5 s", str(self.server.wait_for("smtp.rejected")["detail"]))


class XClientTest(ConnectionsCase):
    sections = MappingProxyType({"server": {"xclient_networks": [PROXY]}})

    def test_a_proxy_says_whom_it_speaks_for(self) -> None:
        told = (
            "--xclient-addr",
            "203.0.113.9",
            "--xclient-name",
            "pc.client.example",
            "--xclient-helo",
            "pc.client.example",
        )
        mail = self.sent(self.server.smtp_port, *told, source=PROXY)
        self.assertIn("from pc.client.example ([203.0.113.9]) by mx.test with ESMTP id", mail)
        login = ("--tls-on-connect", "--xclient-login", "alice@acme.example")
        mail = self.sent(self.server.submissions_port, *told, *login, source=PROXY)
        self.assertIn("from pc.client.example ([203.0.113.9]) by mx.test with ESMTPSA", mail)

    def test_nobody_else_may(self) -> None:
        done = self.swaks(self.server.smtp_port, "--xclient-addr", "203.0.113.9")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Host did not advertise XCLIENT", done.stdout + done.stderr)


class TurnedAwayTest(ConnectionsCase):
    sections = MappingProxyType({"server": {"greet_pause": "500ms", "max_connections_per_ip": 2}})

    def test_who_does_not_wait_and_who_comes_too_often(self) -> None:
        early = self.call(self.server.smtp_port)
        early.sendall(b"EHLO pc.example\r\n")
        self.assertTrue(self.heard(early).startswith(b"554 5.5.1 "))
        with SMTP("127.0.0.1", self.server.smtp_port, source_address=(STRANGER, 0)) as client:
            self.assertEqual(client.ehlo()[0], 250)
            with SMTP("127.0.0.1", self.server.submission_port, source_address=(STRANGER, 0)):
                self.assertTrue(self.heard(self.call(self.server.smtp_port)).startswith(b"421 4.7.0 "))
                self.assertEqual(self.heard(self.call(self.server.submissions_port)), b"")
                self.assertEqual(self.call(self.server.smtp_port, PROXY).recv(4), b"220 ")
            self.assertEqual(self.call(self.server.smtp_port).recv(4), b"220 ")
