"""What tests of outgoing mail share: an mtad whose name server knows remote domains, and a user of it.

All remote servers have one port, as it is on the Internet, and so each has an address of its own.
"""

import atexit
import logging
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from smtplib import SMTP

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as PEER
from aiosmtpd.smtp import Envelope, Session
from twisted.trial.unittest import SynchronousTestCase

from tests.contract.certificates import write_certificate
from tests.system.server import RunningServer, free_port
from tests.system.zone import NameServerProcess

# It logs what becomes of broken handshakes, which tests bring about, and would do so to the terminal.
logging.getLogger("mail").addHandler(logging.NullHandler())

PORT, STORE_PORT = free_port(), free_port()
AIOSMTPD, POSTFIX, NOBODY_THERE = "127.0.0.2", "127.0.0.3", "127.0.0.4"
# sink0.example and so on.
SINK_HOSTS = [f"127.0.0.{number}" for number in range(10, 50)]

ZONE: Mapping[str, Sequence[str]] = {
    "aio.example": ["MX 10 mx.aio.example"],
    "mx.aio.example": [f"A {AIOSMTPD}"],
    "postfix.example": ["MX 10 gone.postfix.example", "MX 20 mx.postfix.example"],
    "gone.postfix.example": [f"A {NOBODY_THERE}"],
    "mx.postfix.example": [f"A {POSTFIX}"],
    "one.example": ["MX 10 mx.postfix.example"],
    "null.example": ["MX 0 ."],
} | {f"sink{number}.example": [f"A {host}"] for number, host in enumerate(SINK_HOSTS)}


@cache
def shared_directory() -> Path:
    """Return a directory that is there until all tests ended."""
    directory = tempfile.TemporaryDirectory(prefix="mtad-test-")
    atexit.register(directory.cleanup)
    return Path(directory.name)


@cache
def certificate() -> tuple[Path, Path]:
    """Return a certificate that the server trusts, and its key: the server's own, and Postfix'."""
    return write_certificate(shared_directory(), names=("mx.test", "mx.postfix.example"))


def store_socket() -> Path:
    """Return where a mail store's unix socket is, when there is one."""
    return shared_directory() / "lmtp"


def tenants() -> object:
    stores = {
        "store.example": {"kind": "lmtp", "addr": f"127.0.0.1:{STORE_PORT}"},
        "socket.example": {"kind": "lmtp", "addr": str(store_socket())},
        "shop.example": {"kind": "smtp", "addr": f"{AIOSMTPD}:{PORT}"},
    }
    users = [{"local_part": name, "password": f"{name}'s"} for name in ("alice", "bob")]
    mailboxes = [{"local_part": name} for name in ("sue", "tom", "gone")]
    domains: list[object] = [{"name": "acme.example", "verified": True, "mailboxes": users}]
    domains += [
        {"name": name, "verified": True, "delivery": delivery, "mailboxes": mailboxes}
        for name, delivery in stores.items()
    ]
    return {"organisations": [{"name": "acme", "domains": domains}]}


@cache
def running() -> RunningServer:
    """Return the one server of these tests: to whom they send differs."""
    names = NameServerProcess(ZONE)
    atexit.register(names.close)
    cert_file, key_file = map(str, certificate())
    server = RunningServer(
        {
            "dns": {"servers": [names.place]},
            "delivery": {"port": PORT, "allow_private": True},
            "queue": {"retry_delay": "1s", "max_retry_delay": "1s"},
            "tls": {"cert_file": cert_file, "key_file": key_file},
        },
        trusted=certificate()[0],
    )
    atexit.register(server.close)
    server.apply(tenants())
    return server.start()


def letter(to: str, subject: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "alice@acme.example", to, subject
    message.set_content("Grüße in die Ferne\n.\n..dots\n", cte="8bit")
    return message


class Taker:
    """What aiosmtpd asks. It takes everything, but `says` has replies for recipients, each said once."""

    def __init__(self, says: Mapping[str, list[str]] | None = None) -> None:
        self.envelopes: list[Envelope] = []
        self.sessions: list[Session] = []
        self._says = {address: iter(replies) for address, replies in (says or {}).items()}

    async def handle_RCPT(
        self, _server: PEER, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        reply = next(self._says.get(address, iter(())), None)
        if reply is None:
            envelope.rcpt_tos.append(address)
        return reply or "250 2.1.5 OK"

    async def handle_DATA(self, _server: PEER, session: Session, envelope: Envelope) -> str:
        self.sessions.append(session)
        self.envelopes.append(envelope)
        return "250 2.0.0 OK"


class SendingCase(SynchronousTestCase):
    """Tests that send as alice, and see what becomes of it."""

    def setUp(self) -> None:
        self.server = running()

    def serve(self, taker: Taker, **parameters: object) -> None:
        """Have an aiosmtpd until the test ends."""
        controller = Controller(taker, hostname=AIOSMTPD, port=PORT, **parameters)
        controller.start()
        self.addCleanup(controller.stop)

    def serve_tls(self, taker: Taker, **parameters: object) -> None:
        """Have an aiosmtpd that offers STARTTLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate())
        self.serve(taker, tls_context=context, **parameters)

    def submit(self, *to: str, subject: str, notify: str | None = None) -> None:
        """Send as alice, logged in over TLS; `notify` is what she wants to be told of."""
        context = ssl.create_default_context(cafile=str(certificate()[0]))
        context.check_hostname = False
        with SMTP("127.0.0.1", self.server.submission_port) as client:
            client.starttls(context=context)
            client.login("alice@acme.example", "alice's")
            wishes = [f"NOTIFY={notify}"] if notify else []
            message = letter(", ".join(to), subject)
            self.assertEqual(client.send_message(message, to_addrs=to, rcpt_options=wishes), {})

    def wait_lines(self, event: str, *recipients: str) -> dict[str, dict[str, object]]:
        """Return the first line of the log for each of these recipients, once all are there."""
        while True:
            lines = [line for line in self.server.log if line.get("event") == event]
            found = {str(line["recipient"]): line for line in reversed(lines)}
            if found.keys() >= set(recipients):
                return {recipient: found[recipient] for recipient in recipients}
            self.server.wait_for(event)

    def report_about(self, recipient: str) -> tuple[str, dict[str, str]]:
        """Return the human part and the recipient's fields of the one report that alice gets about it (RFC 3464)."""
        while True:
            reports = map(_report, self.server.mail("alice@acme.example"))
            found = [
                (text, group)
                for text, groups in reports
                for group in groups
                if group["Final-Recipient"].removeprefix("rfc822;").strip() == recipient
            ]
            if found:
                self.assertEqual(len(found), 1)
                return found[0]
            self.server.wait_for("delivery.delivered")


def _report(mail: bytes) -> tuple[str, list[dict[str, str]]]:
    """Return a report's human part and its groups of fields, one a recipient; none for what is no report."""
    report = message_from_bytes(mail, policy=policy.default)
    if report.get_content_type() != "multipart/report":
        return "", []
    text, status, _ = report.iter_parts()
    return text.get_content(), [dict(group.items()) for group in status.get_payload()[1:]]
