"""The two embedded servers: how each is set, started and stopped, and how PostgreSQL's data are first made (DESIGN D5).

What is said here is said on the command line at every start, so that a newer mtad needs no edit of files of an older
one. It starts no server; `guardian` does.
"""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mtad.adapters.postgres.accounts import Account
from mtad.adapters.postgres.binaries import Binaries
from mtad.adapters.postgres.place import DATABASE, PORT, USER, Place, Store
from mtad.model.errors import Unavailable

_POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "unix_socket_permissions": "0700",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_checkpoints": "off",
}
_ACCESS = "local all all scram-sha-256\n"
# No locale, no libpq defaults and nothing else of the caller's reaches the servers.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Server:
    """One server as a process.

    `lock` is a file the process and all its children keep a flock on: it is free exactly when none of them is left.
    `pid_file` is written by the server itself; `leftovers` are files that lie when a server was killed. `stop` is the
    signal that ends it cleanly, `hurry` the one for when that takes too long.
    """

    name: str
    command: tuple[str, ...]
    account: Account | None
    data: Path
    lock: Path
    log: Path
    pid_file: Path
    leftovers: tuple[Path, ...]
    stop: signal.Signals
    hurry: signal.Signals


def postgres(place: Place, binaries: Binaries) -> Server:
    """Return PostgreSQL as it is to run in `place`."""
    settings = {
        **_POSTGRES_SETTINGS,
        "unix_socket_directories": str(place.sockets),
        "hba_file": str(_access_file(place)),
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    pid_file = place.postgres_data / "postmaster.pid"
    socket = place.sockets / f".s.PGSQL.{PORT}"
    return Server(
        name="PostgreSQL",
        command=(str(binaries.postgres), "-D", str(place.postgres_data), *options),
        account=place.account,
        data=place.postgres_data,
        lock=place.postgres_lock,
        log=Store.POSTGRES.log(place.control),
        pid_file=pid_file,
        leftovers=(pid_file, socket, socket.with_name(f"{socket.name}.lock")),
        stop=signal.SIGINT,  # fast: sessions are ended, a checkpoint is made
        hurry=signal.SIGQUIT,  # immediate: the next start recovers from the WAL
    )


def valkey(place: Place, binaries: Binaries) -> Server:
    """Return Valkey as it is to run in `place`."""
    pid_file = place.valkey_data / "valkey.pid"
    settings = {
        "port": "0",
        "unixsocket": place.connection.redis_socket,
        "unixsocketperm": "700",
        "dir": str(place.valkey_data),
        "pidfile": str(pid_file),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "logfile": "",
    }
    options = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return Server(
        name="Valkey",
        command=(str(binaries.valkey), *options),
        account=place.account,
        data=place.valkey_data,
        lock=place.valkey_lock,
        log=Store.VALKEY.log(place.control),
        pid_file=pid_file,
        leftovers=(pid_file, Path(place.connection.redis_socket)),
        stop=signal.SIGTERM,
        hurry=signal.SIGKILL,
    )


def create_database(place: Place, binaries: Binaries) -> None:
    """Make the data directory, the role and the database; all in one step, so that a crash leaves nothing half made.

    The superuser has no password and so cannot log in; the role owns the database and may make others (the tests do).
    Raises Unavailable with what initdb or PostgreSQL said.
    """
    making = place.home / "postgresql.new"
    shutil.rmtree(making, ignore_errors=True)
    os.mkdir(making, 0o700)
    if place.account:
        os.chown(making, place.account.uid, place.account.gid, follow_symlinks=False)
    made = str(making)
    initialise = (str(binaries.initdb), "-D", made, "-U", "postgres", "-E", "UTF8", "--locale=C", "-A", "reject")
    _run((*initialise, "--no-instructions"), place.account, "")
    roles = (
        f"create role {USER} login createdb password '{place.password}';\n"
        f"create database {DATABASE} owner {USER};\n"
    )  # the password is our own, of letters and digits
    single = (str(binaries.postgres), "--single", "-D", made, "-c", "exit_on_error=on", "-c", "log_checkpoints=off")
    _run((*single, "postgres"), place.account, roles)
    os.rename(making, place.postgres_data)
    descriptor = os.open(place.home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_access_file(place: Place) -> None:
    """Write who may log in: anybody with a password who can enter the socket directory."""
    path = _access_file(place)
    path.unlink(missing_ok=True)
    path.write_text(_ACCESS, encoding="ascii")
    path.chmod(0o644)


def launch(server: Server, lock_descriptor: int) -> "subprocess.Popen[bytes]":
    """Start a server that keeps `lock_descriptor` open as long as it or a child of it lives."""
    log = os.open(server.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            server.command,
            pass_fds=(lock_descriptor,),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
            umask=0o077,
            user=server.account.uid if server.account else None,
            group=server.account.gid if server.account else None,
            extra_groups=[] if server.account else None,
        )
    except OSError as error:
        raise Unavailable(server.name, f"cannot be started: {error}") from None
    finally:
        os.close(log)


def _access_file(place: Place) -> Path:
    return place.home / "pg_hba.conf"


def _run(command: tuple[str, ...], account: Account | None, text: str) -> None:
    try:
        ended = subprocess.run(
            command,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=_ENVIRONMENT,
            text=True,
            errors="backslashreplace",
            check=False,
            umask=0o077,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except OSError as error:
        raise Unavailable("PostgreSQL", f"cannot run {command[0]}: {error}") from None
    if ended.returncode:
        said = [line for line in ended.stdout.splitlines() if line.strip()]
        worst = [line for line in said if "FATAL" in line or "error:" in line] or said[-1:]
        raise Unavailable("PostgreSQL", f"{Path(command[0]).name} failed: {' '.join(worst[:1])}")
