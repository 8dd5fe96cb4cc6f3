"""What other people's clients need: an mtad with a certificate they can check, mailboxes, an Exim to send with."""

import atexit
import os
import pwd
import subprocess
import tempfile
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from shutil import copy, rmtree
from subprocess import CompletedProcess

from twisted.trial.unittest import SynchronousTestCase

from tests.contract.certificates import NAME
from tests.system import programs
from tests.system.sending import certificate
from tests.system.server import RunningServer

HOST = "127.0.0.1"
STRANGER, ALICE, BOB = "ann@outside.example", "alice@acme.example", "bob@acme.example"
PASSWORD = "alice's"
CROWDED = "crowded@acme.example"
# An address that takes SMTPUTF8, as its owner writes it and as its Maildir is named.
JÜRGEN, JÜRGENS_MAILDIR = "jürgen@bücher.example", "j%C3%BCrgen@xn--bcher-kva.example"
# Lines that a client has to double a dot of, and that are not ASCII.
TEXT = "Grüße aus der Ferne\n.\n..dots\n"


def tenants() -> object:
    mailboxes: list[dict[str, str]] = [{"local_part": "alice", "password": PASSWORD}]
    mailboxes += [{"local_part": address.partition("@")[0]} for address in (BOB, CROWDED)]
    readers = [{"local_part": "jürgen", "password": PASSWORD}]
    domains = [
        {"name": "acme.example", "verified": True, "mailboxes": mailboxes},
        {"name": "bücher.example", "verified": True, "mailboxes": readers},
    ]
    return {"organisations": [{"name": "acme", "domains": domains}]}


@cache
def running() -> RunningServer:
    """Return the one server of these tests: the subjects of what they send differ."""
    cert_file, key_file = map(str, certificate())
    server = RunningServer({"tls": {"cert_file": cert_file, "key_file": key_file}})
    atexit.register(server.close)
    server.apply(tenants())
    return server.start()


def letter(subject: str, sender: str = STRANGER, text: str = TEXT, to: str = BOB) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message.set_content(text, cte="8bit")
    return message


def written(subject: str, sender: str = STRANGER) -> str:
    """Return the same as a client is given it."""
    return letter(subject, sender).as_bytes().decode()


class ClientCase(SynchronousTestCase):
    """Tests that send with a client, and look for the message in a mailbox."""

    def setUp(self) -> None:
        self.server = running()
        self.authority = str(certificate()[0])

    def send_with(self, name: str, *words: str | Path, given: str = "") -> str:
        """Return what a program printed, both outputs; it must end well."""
        done = programs.run(name, *words, given=given)
        self.assertEqual(done.returncode, 0, said_by(done))
        return done.stdout + done.stderr

    def refused_with(self, name: str, *words: str | Path, given: str = "") -> str:
        """Return what a program printed, both outputs; it must not end well."""
        done = programs.run(name, *words, given=given)
        self.assertNotEqual(done.returncode, 0, said_by(done))
        return done.stdout + done.stderr

    def arrived(self, subject: str, mailbox: str = BOB) -> bytes:
        """Return the one message of that subject in a mailbox, once it is there."""
        line = f"\nSubject: {subject}\n".encode()
        while not (found := [mail for mail in self.server.mail(mailbox) if line in mail]):
            self.server.wait_for("delivery.delivered")
        self.assertEqual(len(found), 1)
        return found[0]

    def assert_arrived(self, subject: str, protocol: str, text: str = TEXT, mailbox: str = BOB) -> bytes:
        """See that a message came as it was written, and by which protocol as Received has it (RFC 3848)."""
        mail = self.arrived(subject, mailbox)
        self.assertEqual(message_from_bytes(mail, policy=policy.default).get_content(), text)
        self.assertIn(f"\n\tby {NAME} with {protocol} ".encode(), mail)
        return mail


def said_by(done: CompletedProcess[str]) -> str:
    """Return what a program printed, to be shown when a test fails."""
    return f"{done.args}\nended with {done.returncode} and printed\n{done.stdout}{done.stderr}"


class Exim:
    """An Exim that sends all it is given to a port of this machine, until `close`.

    Debian's asks for its account Debian-exim before it reads any configuration. libnss-wrapper shows it one that is
    whoever runs the tests, or nobody when root does.
    """

    def __init__(self, port: int, authority: str) -> None:
        self._program, self._wrapper = programs.needed("exim4"), programs.needed("libnss_wrapper.so")
        self.home = Path(tempfile.mkdtemp(prefix="mtad-exim-"))
        self._account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        ids = f"{self._account.pw_uid}:{self._account.pw_gid}"
        (self.home / "passwd").write_text(f"{Path('/etc/passwd').read_text()}Debian-exim:x:{ids}::/:/bin/sh\n")
        (self.home / "group").write_text(f"{Path('/etc/group').read_text()}Debian-exim:x:{self._account.pw_gid}:\n")
        copy(authority, self.home / "authority.pem")
        (self.home / "configuration").write_text(
            f"primary_hostname = exim.test\n"
            f"exim_path = {self._program}\n"
            f"spool_directory = {self.home}/spool\n"
            f"log_file_path = {self.home}/log.%s\n"
            f"keep_environment =\n"
            f"begin routers\n"
            f"all:\n driver = manualroute\n route_list = * {HOST}\n self = send\n transport = there\n"
            f"begin transports\n"
            f"there:\n driver = smtp\n port = {port}\n hosts_require_tls = *\n"
            f" tls_verify_certificates = {self.home}/authority.pem\n tls_verify_hosts = *\n"
            f" tls_verify_cert_hostnames =\n"  # it was told an address only
        )
        for file in (self.home, *self.home.iterdir()):
            os.chown(file, self._account.pw_uid, self._account.pw_gid)

    def send(self, message: EmailMessage) -> str:
        """Send a message to whom it says; return what Exim logged."""
        environment = programs.environment() | {
            "LD_PRELOAD": str(self._wrapper),
            "NSS_WRAPPER_PASSWD": f"{self.home}/passwd",
            "NSS_WRAPPER_GROUP": f"{self.home}/group",
        }
        done = subprocess.run(
            [self._program, "-C", self.home / "configuration", "-oi", "-odf", "-f", message["From"], message["To"]],
            cwd=self.home,
            user=self._account.pw_uid,
            group=self._account.pw_gid,
            env=environment,
            input=message.as_bytes(),
            capture_output=True,
            timeout=programs.PATIENCE_SECONDS,
            check=False,
        )
        logged = "".join(log.read_text(errors="backslashreplace") for log in self.home.glob("log.*"))
        assert not done.returncode, (done.stdout, done.stderr, logged)
        return logged

    def close(self) -> None:
        """Remove what it had."""
        rmtree(self.home, ignore_errors=True)
