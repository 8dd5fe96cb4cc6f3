"""Logins by SCRAM over the wire: OpenSSL's channel binding, and the clients msmtp and gsasl."""

import contextlib
import secrets
import socket
import threading
import time
from base64 import b64decode, b64encode

from OpenSSL import SSL

from tests.system import programs
from tests.system.sending import SendingCase, certificate
from tests.unit.scram_client import BindingClient, Client

PATIENCE_SECONDS = 30.0
ALICE, PASSWORD = "alice@acme.example", "alice's"
LABEL = b"EXPORTER-Channel-Binding"


def own_address() -> str:
    """Return an address of this machine nobody failed to log in from lately."""
    return f"127.{secrets.randbelow(255)}.{secrets.randbelow(255)}.{1 + secrets.randbelow(254)}"


class Session:
    """A client's session with a submission port, under TLS of a version."""

    def __init__(self, port: int, version: int = SSL.TLS1_3_VERSION, host: str | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS, (host or own_address(), 0))
        self._lines = self._socket.makefile("rb")
        self._connection: SSL.Connection | None = None
        self.heard()
        self.say(b"EHLO pc.example")
        self.say(b"STARTTLS")
        self._lines.close()
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        self._socket.settimeout(None)
        self._connection = SSL.Connection(context, self._socket)
        self._connection.set_connect_state()
        self._connection.do_handshake()
        self._unread = b""
        self.hello = self.say(b"EHLO pc.example")
        self.binding = self._connection.export_keying_material(LABEL, 32, b"")

    def heard(self) -> bytes:
        """Return the next reply, all its lines."""
        reply = b""
        while not reply or reply.splitlines()[-1][3:4] == b"-":
            reply += self._line()
        return reply

    def _line(self) -> bytes:
        if self._connection is None:
            return self._lines.readline()
        while b"\n" not in self._unread:
            self._unread += self._connection.recv(4096)
        line, _, self._unread = self._unread.partition(b"\n")
        return line + b"\n"

    def say(self, line: bytes) -> bytes:
        """Send a line and return its reply."""
        if self._connection is None:
            self._socket.sendall(line + b"\r\n")
        else:
            self._connection.sendall(line + b"\r\n")
        return self.heard()

    def scram(self, client: Client | BindingClient, mechanism: bytes = b"SCRAM-SHA-256") -> bytes:
        """Go through an exchange; return the last reply's code and enhanced code."""
        answer = self.say(b"AUTH %s %s" % (mechanism, b64encode(client.first())))
        answer = self.say(b64encode(client.final(b64decode(answer[4:]))))
        if answer.startswith(b"334 "):
            client.trust(b64decode(answer[4:]))
            answer = self.say(b"")
        return answer[:9]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class WireTest(SendingCase):
    def session(self, version: int = SSL.TLS1_3_VERSION, host: str | None = None) -> Session:
        session = Session(self.server.submission_port, version, host)
        self.addCleanup(session.close)
        return session

    def test_bound_to_the_connection_and_not(self) -> None:
        session = self.session()
        self.assertIn(b"AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n", session.hello)
        client = BindingClient(ALICE, PASSWORD, binding=session.binding)
        self.assertEqual(session.scram(client, b"SCRAM-SHA-256-PLUS"), b"235 2.7.0")
        self.assertEqual(session.say(b"MAIL FROM:<alice@acme.example>")[:9], b"250 2.1.0")
        self.assertEqual(self.session().scram(Client(ALICE, PASSWORD)), b"235 2.7.0")

    def test_who_stands_between_cannot_pass_it_on(self) -> None:
        there, here = self.session(), self.session()
        client = BindingClient(ALICE, PASSWORD, binding=there.binding)
        self.assertEqual(here.scram(client, b"SCRAM-SHA-256-PLUS"), b"535 5.7.8")

    def test_tls_1_2_has_no_binding_to_rely_on(self) -> None:
        session = self.session(SSL.TLS1_2_VERSION)
        self.assertIn(b"AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n", session.hello)
        self.assertEqual(session.say(b"AUTH SCRAM-SHA-256-PLUS")[:9], b"504 5.5.4")
        self.assertEqual(session.scram(BindingClient(ALICE, PASSWORD, "y,,")), b"235 2.7.0")

    def test_failures_are_remembered_by_redis(self) -> None:
        host = own_address()
        for _ in range(5):
            self.assertEqual(self.session(host=host).scram(Client(ALICE, "x")), b"535 5.7.8")
        self.server.stop()
        self.server.start()
        began = time.monotonic()
        self.assertEqual(self.session(host=host).scram(Client(ALICE, PASSWORD)), b"235 2.7.0")
        self.assertGreater(time.monotonic() - began, 1.0)


class Introducer:
    """Says EHLO to a server for one client, which goes on from there: gsasl 2.2 says STARTTLS first of all."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._server), source_address=(own_address(), 0))
        lines = server.makefile("rb")
        greeting = lines.readline()
        server.sendall(b"EHLO introducer.example\r\n")
        while lines.readline()[3:4] == b"-":
            pass
        client.sendall(greeting)
        threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()
        self._pass_on(server, client)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while octets := source.recv(65536):
                target.sendall(octets)
            target.shutdown(socket.SHUT_WR)


class GsaslTest(SendingCase):
    def gsasl(self, *words: str) -> str:
        """Log in as alice with gsasl; return the session."""
        port = Introducer(self.server.submission_port).port
        done = programs.run(
            "gsasl", "--smtp", f"--connect=127.0.0.1:{port}", "--starttls", "--x509-ca-file=",
            f"--authentication-id={ALICE}", "--authorization-id=", f"--password={PASSWORD}", *words,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("server trusted", done.stderr)
        return done.stdout

    def test_it_takes_the_best_mechanism(self) -> None:
        said = self.gsasl()
        self.assertIn("AUTH SCRAM-SHA-256-PLUS\n", said.replace("\r", ""))
        self.assertIn("235 2.7.0", said)

    def test_without_channel_binding(self) -> None:
        self.assertIn("235 2.7.0", self.gsasl("--mechanism=SCRAM-SHA-256", "--no-cb"))


class MsmtpTest(SendingCase):
    def test_it_sends(self) -> None:
        done = programs.run(
            "msmtp", "--file=/dev/null", "--debug", "--host=127.0.0.1", f"--port={self.server.submission_port}",
            "--tls=on", "--tls-starttls=on", f"--tls-trust-file={certificate()[0]}", "--tls-host-override=mx.test",
            "--auth=scram-sha-256", f"--user={ALICE}", f"--passwordeval=printf %s \"{PASSWORD}\"", f"--from={ALICE}",
            "bob@acme.example", given="Subject: by SCRAM\n\nhello\n",
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("AUTH SCRAM-SHA-256", done.stdout)
        self.wait_lines("delivery.delivered", "bob@acme.example")
        self.assertTrue(any(b"Subject: by SCRAM" in mail for mail in self.server.mail("bob@acme.example")))
