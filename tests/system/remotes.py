"""Servers that mail goes to, other people's programs: Postfix, its smtp-sink, Dovecot's LMTP.

Each is private: what it has is below one directory, it listens on the loopback, and it is gone after `close`.
"""

import mailbox
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.system.programs import environment, needed
from tests.system.waiting import until

PATIENCE_SECONDS = 30.0
NOBODY = pwd.getpwnam("nobody")


def is_root() -> bool:
    """Whether a server that changes its user can be started."""
    return os.geteuid() == 0


class Remote(ABC):
    """A server at `host`:`port`, from `start` to `close`."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.home = Path(tempfile.mkdtemp(prefix="mtad-remote-"))
        self.home.chmod(0o755)
        self.mail = self.home / "mail"
        self.mail.mkdir()
        if is_root():
            os.chown(self.mail, NOBODY.pw_uid, NOBODY.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Return what runs in the foreground."""

    @property
    def said(self) -> str:
        """What it wrote to its output."""
        return (self.home / "output").read_text(errors="replace")

    def start(self) -> Self:
        """Return once it takes connections."""
        with open(self.home / "output", "ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.home,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._await_listening(self._process)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End it with all it started, and remove what it had."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # nothing is left of its session
        shutil.rmtree(self.home, ignore_errors=True)

    def _await_listening(self, process: "subprocess.Popen[bytes]") -> None:
        def listens() -> bool:
            assert process.poll() is None, f"{name} does not start: {self.said}"
            socket.create_connection((self.host, self.port), 1.0).close()
            return True

        # None of these programs tells that it listens.
        name = type(self).__name__
        until(listens, PATIENCE_SECONDS, f"{name} starts", lambda: self.said, despite=OSError)


class SmtpSink(Remote):
    """Postfix's smtp-sink(1) with switches such as `-r RCPT`; it keeps what it takes."""

    def __init__(self, host: str, port: int, *switches: str) -> None:
        super().__init__(host, port)
        self._switches = switches

    def command(self) -> Sequence[str | Path]:
        """Return smtp-sink; it may not stay root."""
        user = ("-u", "nobody") if is_root() else ()
        keep = ("-d", f"{self.mail}/")
        return [needed("smtp-sink"), *user, *keep, *self._switches, f"{self.host}:{self.port}", "100"]

    @property
    def messages(self) -> list[str]:
        """What it took, each with lines on top that tell of the envelope."""
        return [file.read_text(errors="surrogateescape") for file in self.mail.iterdir()]


class Postfix(Remote):
    """A Postfix that is the last stop of `domain`, with a Maildir for each of `users`, and offers STARTTLS.

    What it has to say to others it hands to its `relay`, a host and port. `settings` are its own, besides.
    """

    def __init__(
        self,
        host: str,
        port: int,
        domain: str,
        users: Sequence[str],
        certificate: tuple[Path, Path],
        *,
        relay: tuple[str, int] | None = None,
        **own_settings: str,
    ) -> None:
        self._postfix, self._master = needed("sbin/postfix"), needed("postfix/sbin/master")
        super().__init__(host, port)
        (self.home / "users").write_text("".join(f"{user}@{domain} {user}/\n" for user in users))
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": self.home / "queue",
            "data_directory": self.home / "data",
            "maillog_file": "/dev/stdout",
            "myhostname": f"mx.{domain}",
            "mydestination": "",
            "mynetworks": "",
            "inet_interfaces": "127.0.0.1",  # only addresses that an interface has may stand here
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "local_recipient_maps": "",
            "virtual_mailbox_domains": domain,
            "virtual_mailbox_base": self.mail,
            "virtual_mailbox_maps": f"texthash:{self.home}/users",
            "virtual_uid_maps": f"static:{NOBODY.pw_uid}",
            "virtual_gid_maps": f"static:{NOBODY.pw_gid}",
            "smtpd_peername_lookup": "no",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_cert_file": certificate[0],
            "smtpd_tls_key_file": certificate[1],
            "relayhost": "[{}]:{}".format(*relay) if relay else "",
            **own_settings,
        }
        (self.home / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        # One line a service: name, type, private, unprivileged, chroot, wakeup, processes, program.
        services = [f"{host}:{port} inet n - n - - smtpd", "postlog unix-dgram n - n - 1 postlogd"]
        services += ["cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr", "tlsmgr unix - - n 1000? 1 tlsmgr"]
        services += ["rewrite unix - - n - - trivial-rewrite", "virtual unix - n n - - virtual"]
        services += [f"{name} unix - - n - 0 bounce" for name in ("bounce", "defer", "trace")]
        services += ["smtp unix - - n - - smtp"]
        services += ["error unix - - n - - error", "retry unix - - n - - error", "anvil unix - - n - 1 anvil"]
        (self.home / "master.cf").write_text("".join(f"{service}\n" for service in services))
        (self.home / "queue").mkdir()
        data = self.home / "data"
        data.mkdir()
        if is_root():
            shutil.chown(data, "postfix")

    def start(self) -> Self:
        """Make what is missing of the queue, and start."""
        check = [self._postfix, "-c", self.home, "check"]
        subprocess.run(check, check=True, capture_output=True, timeout=PATIENCE_SECONDS)
        return super().start()

    def command(self) -> Sequence[str | Path]:
        """Return master(8); `postfix start-fg` would not tell it to end."""
        return [self._master, "-c", self.home, "-s"]

    def wait_inbox(self, user: str) -> list[bytes]:
        """Return the messages a user has, once there is one: 250 comes before it is in the Maildir."""
        return until(lambda: _inbox(self.mail / user), PATIENCE_SECONDS, f"{user} has mail", lambda: self.said)


class Dovecot(Remote):
    """Dovecot's LMTP, on a unix socket too. `users` maps each to a quota rule such as `*:bytes=100`, or nothing."""

    def __init__(self, host: str, port: int, unix_socket: Path, users: Mapping[str, str]) -> None:
        self._dovecot, _ = needed("dovecot"), needed("dovecot/lmtp")
        super().__init__(host, port)
        passwd = self.home / "users"
        passwd.write_text("".join(
            f"{user}::{NOBODY.pw_uid}:{NOBODY.pw_gid}::{self.mail}/{user}::{quota and f'userdb_quota_rule={quota}'}\n"
            for user, quota in users.items()
        ))  # fmt: skip
        (self.home / "dovecot.conf").write_text(
            f"base_dir = {self.home}/run\n"
            f"state_dir = {self.home}/run\n"
            f"log_path = /dev/stderr\n"
            f"protocols = lmtp\n"
            f"ssl = no\n"
            f"hostname = store.test\n"
            f"postmaster_address = postmaster@store.test\n"
            f"first_valid_uid = 1\n"
            f"mail_location = maildir:~/\n"
            f"mail_plugins = quota\n"
            f"plugin {{\n  quota = maildir:User quota\n}}\n"
            f"passdb {{\n  driver = static\n  args = nopassword=y\n}}\n"
            f"userdb {{\n  driver = passwd-file\n  args = username_format=%n {passwd}\n}}\n"
            f"service lmtp {{\n"
            f"  inet_listener lmtp {{\n    address = {host}\n    port = {port}\n  }}\n"
            f"  unix_listener {unix_socket} {{\n    mode = 0666\n  }}\n"
            f"}}\n"
        )

    def command(self) -> Sequence[str | Path]:
        """Return dovecot(1)."""
        return [self._dovecot, "-F", "-c", self.home / "dovecot.conf"]

    def inbox(self, user: str) -> list[bytes]:
        """Return the messages a user has."""
        return _inbox(self.mail / user)


def _inbox(maildir: Path) -> list[bytes]:
    whole = all((maildir / part).is_dir() for part in ("new", "cur"))
    return [message.as_bytes() for message in mailbox.Maildir(maildir)] if whole else []
