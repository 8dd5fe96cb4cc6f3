"""Private servers to measure: an mtad, and a Postfix that keeps the same promise.

Each has all it needs in one directory, listens on a free port of the loopback, and serves the mailboxes of `MAILBOXES`
as Maildirs. A `with` block is its life: what it started is gone afterwards.

The promise: 250 means that the message is on disk. mtad commits to PostgreSQL, Postfix syncs a queue file; both sync
the file in the Maildir before they let go of the message. mtad also syncs the Maildir's directory; virtual(8) does not.
"""

import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from mtad.adapters.postgres.place import control_directory, read_connection
from tests.stores import wait_stopped

DOMAIN = "bench.example"
HOSTNAME = f"mx.{DOMAIN}"
MAILBOXES = tuple(f"user{number}" for number in range(100))
START_SECONDS = 60.0
STOP_SECONDS = 30.0
_BIN = Path(sys.executable).parent
_TICKS = os.sysconf("SC_CLK_TCK")


class Missing(Exception):
    """A server cannot be had on this machine; says why."""


class NotStarted(Exception):
    """A server did not come up; says what it said."""


class Server(ABC):
    """A server below `home`. It may be started again and again, one life at a time, and keeps what it has."""

    name: str

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o755)
        self.home = home
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with open(self.home / "output", "ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.home,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for us; each is ended in its turn.
                start_new_session=True,
            )
        try:
            self._await_greeting()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """The server's own process."""
        assert self._process is not None
        return self._process.pid

    @property
    @abstractmethod
    def maildirs(self) -> Path:
        """The directory with a Maildir for each of `MAILBOXES`."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Return what runs in the foreground and ends at SIGTERM."""

    def roots(self) -> list[int]:
        """Return the processes that, with all below them, do this server's work."""
        return [self.pid]

    def remove(self) -> None:
        """Remove what is outside `home`: nothing, where nothing else is said."""
        return

    def cpu_seconds(self) -> float:
        """Return how much CPU the server has used since it started."""
        return cpu_seconds(self.roots())

    def _await_greeting(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                    if connection.recv(4) == b"220 ":
                        connection.sendall(b"QUIT\r\n")
                        return
            except OSError:
                pass
            time.sleep(0.05)
        said = (self.home / "output").read_text(errors="replace").splitlines()[-5:]
        raise NotStarted("\n".join((f"{self.name} does not start; the last it said:", *said)))

    def _end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Mtad(Server):
    """An mtad as it comes: embedded stores, one process, the log in a file.

    Its mailboxes are Maildirs, unless `delivery` says otherwise, as it is written in the file of `mtactl apply`.
    `settings` are further ones of `server`.
    """

    name = "mtad"

    def __init__(
        self, home: Path, delivery: str = "{kind: maildir}", settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        super().__init__(home)
        self._state = home / "state"
        self._config = home / "config.yaml"
        self.maildirs.parent.mkdir(0o755)
        more = "".join(f"  {key}: {value}\n" for key, value in settings.items())
        self._config.write_text(
            f"server:\n"
            f"  hostname: {HOSTNAME}\n"
            f"  postmaster: {MAILBOXES[0]}@{DOMAIN}\n"
            f'  smtp_addr: "127.0.0.1:{self.port}"\n'
            f'  submission_addr: "127.0.0.1:{free_port()}"\n'
            f'  http_addr: "127.0.0.1:{free_port()}"\n'
            f"  state_dir: {self._state}\n"
            f"{more}"
            # Postfix checks nobody's identity either, and nobody outside is asked.
            f"verification: {{spf: off, dkim: off, dmarc: off}}\n"
            f"delivery:\n"
            f"  local: {{kind: maildir, path: {self.maildirs.parent}}}\n"
        )
        mailboxes = "".join(f"          - {{local_part: {mailbox}}}\n" for mailbox in MAILBOXES)
        tenants = home / "tenants.yaml"
        tenants.write_text(
            f"organisations:\n"
            f"  - name: bench\n"
            f"    domains:\n"
            f"      - name: {DOMAIN}\n"
            f"        verified: true\n"
            f"        delivery: {delivery}\n"
            f"        mailboxes:\n{mailboxes}"
        )
        self._apply(tenants)

    def _apply(self, tenants: Path) -> None:
        apply: list[str | Path] = [_BIN / "mtactl", "--config", self._config, "apply", tenants]
        try:
            said = subprocess.run(apply, cwd=self.home, env=_environment(), capture_output=True, text=True, check=False)
            if said.returncode:
                raise NotStarted(said.stderr.strip())
        except BaseException:
            wait_stopped(self._state)
            self.remove()
            raise

    @property
    def maildirs(self) -> Path:
        """The domain's directory; mtad makes it."""
        return self.home / "mail" / DOMAIN

    def command(self) -> Sequence[str | Path]:
        """Return twistd."""
        return [_BIN / "twistd", "-n", "--pidfile=", "mtad", "--config", self._config]

    def roots(self) -> list[int]:
        """Return mtad, and the guardian that runs PostgreSQL and Valkey."""
        (running,) = self._stores_home().glob("postgresql-*/postmaster.pid")
        postmaster = int(running.read_text().split()[0])
        return [self.pid, _Stat(postmaster).parent]

    def remove(self) -> None:
        """Remove the stores, wherever they are; they must have stopped."""
        home = self._stores_home()
        if home != control_directory(self._state):
            shutil.rmtree(home, ignore_errors=True)

    def _stores_home(self) -> Path:
        control = control_directory(self._state)
        connection = read_connection(control)
        return control / connection.home if connection else control

    def _end(self) -> None:
        super()._end()
        if not wait_stopped(self._state):
            print("the embedded stores do not stop", file=sys.stderr)


class Postfix(Server):
    """Debian's Postfix with its defaults, but for what a private instance needs; nothing runs in a chroot."""

    name = "Postfix"

    def __init__(self, home: Path) -> None:
        self._daemons = _postfix_daemons()
        super().__init__(home)
        nobody = pwd.getpwnam("nobody")
        self.maildirs.mkdir()
        os.chown(self.maildirs, nobody.pw_uid, nobody.pw_gid)
        self._make_queue()
        settings = _POSTFIX_MAIN.format(
            home=home, daemons=self._daemons, maildirs=self.maildirs, uid=nobody.pw_uid, gid=nobody.pw_gid,
            hostname=HOSTNAME, domain=DOMAIN,
        )  # fmt: skip
        (home / "main.cf").write_text(settings)
        (home / "master.cf").write_text(_POSTFIX_MASTER.format(port=self.port))
        (home / "mailboxes").write_text("".join(f"{mailbox}@{DOMAIN} {mailbox}/\n" for mailbox in MAILBOXES))

    @property
    def maildirs(self) -> Path:
        """`virtual_mailbox_base`."""
        return self.home / "mail"

    def command(self) -> Sequence[str | Path]:
        """Return master(8), which `postfix start` would run."""
        return [self._daemons / "master", "-c", self.home, "-s"]

    def _make_queue(self) -> None:
        """Make what `postfix start` would make, without a look at the system's own instance."""
        owner = pwd.getpwnam("postfix").pw_uid
        group = grp.getgrnam("postdrop").gr_gid
        for name, mode in _POSTFIX_DIRECTORIES.items():
            directory = self.home / name
            directory.mkdir(parents=True)
            directory.chmod(mode)
            if directory.name != "pid":
                os.chown(directory, owner, group)


def _postfix_daemons() -> Path:
    """Return where the daemons are; raises Missing."""
    if os.geteuid() != 0:
        raise Missing("a private Postfix needs root")
    if shutil.which("postconf") is None:
        raise Missing("Debian's package postfix is not installed")
    asked = subprocess.run(["postconf", "-d", "-h", "daemon_directory"], check=True, capture_output=True, text=True)
    return Path(asked.stdout.strip())


_POSTFIX_QUEUES = (
    "incoming", "active", "deferred", "hold", "corrupt", "bounce", "defer", "trace", "flush", "saved", "private",
)  # fmt: skip
_POSTFIX_DIRECTORIES: Mapping[str, int] = {
    **{f"queue/{name}": 0o700 for name in _POSTFIX_QUEUES},
    "queue/maildrop": 0o730,
    "queue/public": 0o710,
    "queue/pid": 0o755,
    "data": 0o700,
}

# No name lookups of peers: mtad makes none either.
_POSTFIX_MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
daemon_directory = {daemons}
maillog_file = {home}/maillog
maillog_file_prefixes = {home}
myhostname = {hostname}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
local_header_rewrite_clients =
smtpd_peername_lookup = no
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {maildirs}
virtual_mailbox_maps = texthash:{home}/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
default_process_limit = 100
"""

_POSTFIX_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class _Stat:
    """What /proc says of a process: its parent and its CPU time, that of ended children included."""

    def __init__(self, pid: int) -> None:
        # proc(5): the second field is a name in parentheses that may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        self.parent = int(fields[1])
        self.cpu_seconds = sum(map(int, fields[11:15])) / _TICKS


def cpu_seconds(roots: Sequence[int]) -> float:
    """Return the CPU time of processes and all below them, also of those that ended and were waited for."""
    found: dict[int, _Stat] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found[int(name)] = _Stat(int(name))
            except OSError:
                pass  # it has just ended
    below: dict[int, list[int]] = {}
    for pid, stat in found.items():
        below.setdefault(stat.parent, []).append(pid)
    total, waiting = 0.0, [pid for pid in roots if pid in found]
    while waiting:
        pid = waiting.pop()
        total += found[pid].cpu_seconds
        waiting.extend(below.get(pid, ()))
    return total


def free_port() -> int:
    """Return a port of the loopback that nobody has."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port: int = tried.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    """Return an environment that names no database: DB_… and REDIS_… of ours are not theirs."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
