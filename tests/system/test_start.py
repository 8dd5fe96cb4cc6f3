"""What keeps the server from starting is one line on standard error and exit status 1."""

import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.contract.certificates import NAME, write_certificate
from tests.stores import wait_stopped
from tests.system.server import RunningServer


class StartTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = RunningServer()
        self.addCleanup(self.server.close)

    def refused(self) -> str:
        """Start; return the one line."""
        twistd = Path(sys.executable).with_name("twistd")
        done = subprocess.run(
            [twistd, "-n", "--pidfile=", "mtad", "--config", self.server.config],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertNotIn("Traceback", done.stdout)
        return done.stderr.rstrip("\n")

    def change(self, section: str, key: str, value: object) -> None:
        configured = yaml.safe_load(self.server.config.read_text())
        configured.setdefault(section, {})[key] = value
        self.server.config.write_text(yaml.safe_dump(configured))

    def remove(self, section: str) -> None:
        configured = yaml.safe_load(self.server.config.read_text())
        del configured[section]
        self.server.config.write_text(yaml.safe_dump(configured))

    def test_it_stops_by_either_signal(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self.server.start()
            begun = time.monotonic()
            self.assertEqual(self.server.stop(number), -number)
            self.assertLess(time.monotonic() - begun, 20)
            events = [line["event"] for line in self.server.log if "event" in line]
            self.assertEqual(events[-1], "service.stopped")

    def test_starttls(self) -> None:
        cert_file, key_file = write_certificate(self.server.path)
        self.change("tls", "cert_file", str(cert_file))
        self.change("tls", "key_file", str(key_file))
        self.server.apply()
        self.server.start()
        with smtplib.SMTP("127.0.0.1", self.server.smtp_port, timeout=30) as client:
            # The certificate is for mx.test, and its own authority.
            client._host = NAME
            client.starttls(context=ssl.create_default_context(cafile=str(cert_file)))
            client.sendmail("ann@outside.example", "alice@acme.example", b"Subject: safe\r\n\r\nx\r\n")
        while not (mails := self.server.mail("alice@acme.example")):
            self.server.wait_for("delivery.delivered")
        self.assertIn(b" with ESMTPS ", mails[0])

    def test_what_is_rarely_meant_is_warned_of_in_the_log(self) -> None:
        self.server.start()
        warned = [line for line in self.server.log if "postmaster" in str(line.get("message"))]
        self.assertEqual([line["level"] for line in warned], ["warn"])

    def test_a_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", self.server.smtp_port)):
            line = self.refused()
        self.assertEqual(line, f"mtad: 127.0.0.1:{self.server.smtp_port}: cannot listen there: Address already in use")

    def test_a_database_that_refuses(self) -> None:
        self.change("database", "name", "no_such_database")
        self.assertIn('database "no_such_database" does not exist', self.refused())

    def test_a_database_that_refuses_says_so_before_anything_is_started(self) -> None:
        self.remove("redis")
        self.change("database", "name", "no_such_database")
        self.assertIn('database "no_such_database" does not exist', self.refused())
        self.assertFalse((self.server.path / "state" / "embedded").exists())

    def test_only_the_store_that_is_not_configured_is_embedded(self) -> None:
        self.remove("redis")
        self.server.path.chmod(0o755)
        self.addCleanup(wait_stopped, self.server.path / "state")
        self.server.start()
        embedded = self.server.path / "state" / "embedded"
        self.assertTrue((embedded / "valkey").exists())
        self.assertFalse((embedded / "postgresql-18").exists())
        self.server.kill()

    def test_a_database_nobody_serves(self) -> None:
        self.change("database", "host", "127.0.0.1")
        self.change("database", "port", 1)
        self.assertRegex(self.refused(), r"\Amtad: postgres: .*Connection refused")

    def test_a_database_of_a_newer_mtad(self) -> None:
        self.server.apply()
        self.server.database_do("insert into schema_version (version, oldest_code) values (9999, 9999)")
        self.assertIn("9999", self.refused())

    def test_an_unknown_key(self) -> None:
        self.change("server", "max_recipiens", 5)
        self.assertRegex(self.refused(), r"\Amtad: .*config\.yaml:\d+: server\.max_recipiens: unknown key")

    def test_a_certificate_that_is_none(self) -> None:
        self.change("tls", "cert_file", str(self.server.config))
        self.change("tls", "key_file", str(self.server.config))
        self.assertIn("config.yaml", self.refused())
