"""A real mtad in a process of its own, on real ports, for system tests: started, told apart by its log, killed."""

import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any

import psycopg2
import yaml

from tests.stores import database, redis_address

PATIENCE_SECONDS = 60.0
TENANTS = {
    "organisations": [
        {
            "name": "acme",
            "domains": [
                {
                    "name": "acme.example",
                    "verified": True,
                    "mailboxes": [{"local_part": name, "password": f"{name}'s"} for name in ("alice", "bob")],
                    "aliases": [{"local_part": "sales", "targets": ["alice@acme.example", "bob@acme.example"]}],
                }
            ],
        }
    ]
}


_GIVEN_AWAY: set[int] = set()


def free_port() -> int:
    """Return a port nobody listens at now, another one each time.

    It is below those that the system gives to whoever dials, so that it stays free while a server is down.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        if port in _GIVEN_AWAY:
            continue
        _GIVEN_AWAY.add(port)
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


class RunningServer:
    """An mtad below a new directory, with a database of its own. `start` and `kill` may alternate; `close` ends it.

    Where `trusted` names a file of certificates, these are what its machine trusts. `stores` are the parameters of a
    database to use instead.
    """

    def __init__(
        self,
        sections: Mapping[str, Mapping[str, object]] | None = None,
        trusted: Path | None = None,
        stores: Mapping[str, str] | None = None,
    ) -> None:
        self._environment = os.environ | ({"SSL_CERT_FILE": str(trusted)} if trusted else {})
        self.path = Path(tempfile.mkdtemp(prefix="mtad-test-"))
        self.smtp_port, self.submission_port, self.submissions_port = free_port(), free_port(), free_port()
        self.http_port = free_port()
        self.stores = stores = dict(stores) if stores else database()
        configured: dict[str, dict[str, object]] = {
            "server": {
                "hostname": "mx.test",
                "smtp_addr": f"127.0.0.1:{self.smtp_port}",
                "submission_addr": f"127.0.0.1:{self.submission_port}",
                "submissions_addr": f"127.0.0.1:{self.submissions_port}",
                "http_addr": f"127.0.0.1:{self.http_port}",
            },
            "database": {
                "host": stores["host"],
                "name": stores["dbname"],
                "user": stores["user"],
                "password": stores.get("password", ""),
                "pool_size": 5,
            }
            | ({"port": int(stores["port"])} if "port" in stores else {}),
            "redis": {"addr": redis_address()},
            # Nobody outside is asked, unless a test brings a name server.
            "verification": {"spf": "off", "dkim": "off", "dmarc": "off"},
        }
        for section, keys in (sections or {}).items():
            configured.setdefault(section, {}).update(keys)
        self.config = self.path / "config.yaml"
        self.config.write_text(yaml.safe_dump(configured))
        self.log: list[dict[str, object]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def database_do(self, sql: str) -> None:
        """Run a statement in this server's database, behind its back."""
        with closing(psycopg2.connect(**self.stores)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql)

    def database_ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what a query finds in this server's database."""
        with closing(psycopg2.connect(**self.stores)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def mtactl(self, *words: str) -> str:
        """Run mtactl on this server's configuration; return what it prints. AssertionError when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "mtad.ctl", "--config", str(self.config), *words],
            check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        assert not done.returncode, done.stderr
        return done.stdout

    def apply(self, tenants: object = TENANTS) -> None:
        """Load tenants."""
        file = self.path / "tenants.yaml"
        file.write_text(yaml.safe_dump(tenants))
        self.mtactl("apply", str(file))

    def start(self) -> "RunningServer":
        """Start the process and wait until it says it is up."""
        self._unread = b""
        self._process = subprocess.Popen(
            [Path(sys.executable).with_name("twistd"), "-n", "--pidfile=", "mtad", "--config", self.config],
            stdout=subprocess.PIPE,
            cwd=self.path,
            env=self._environment,
        )
        self.wait_for("service.started")
        return self

    def wait_for(self, event: str) -> dict[str, object]:
        """Read the log until that event; return its line. AssertionError when the process ends or says nothing."""
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            *lines, self._unread = self._unread.split(b"\n")
            for number, line in enumerate(lines):
                self.log.append(_line(line))
                if self.log[-1].get("event") == event:
                    self._unread = b"\n".join([*lines[number + 1 :], self._unread])
                    return self.log[-1]
            left = deadline - time.monotonic()
            ready = select.select([self._process.stdout], [], [], max(left, 0))[0]
            octets = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not octets:
                raise AssertionError(f"no {event}, but: {self.log[-5:]}")
            self._unread += octets

    @property
    def pid(self) -> int:
        """The number of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End the process with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._end()

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """End the process with a signal; return its exit status."""
        assert self._process is not None
        self._process.send_signal(by)
        return self._end()

    def _end(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        status = self._process.wait(PATIENCE_SECONDS)
        self._unread += self._process.stdout.read()
        self._process.stdout.close()
        for line in self._unread.splitlines():
            self.log.append(_line(line))
        self._process = None
        return status

    def mail(self, address: str) -> list[bytes]:
        """Return the messages in a mailbox' new/."""
        local_part, _, domain = address.rpartition("@")
        new = self.path / "state" / "mail" / domain / local_part / "new"
        return [file.read_bytes() for file in sorted(new.iterdir())] if new.is_dir() else []

    def close(self) -> None:
        """End the process if it runs, and remove the directory."""
        if self._process is not None:
            self.kill()
        rmtree(self.path, ignore_errors=True)


def _line(octets: bytes) -> dict[str, object]:
    """Return a line of the log; what is none is kept to be seen."""
    try:
        line: dict[str, object] = json.loads(octets)
    except ValueError:
        return {"text": octets.decode(errors="backslashreplace")}
    return line
