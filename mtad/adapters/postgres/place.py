"""Where the embedded stores live, and as whom they run (DESIGN D5).

    state_dir/embedded.lock            a shared flock a user, the exclusive one its guardian's
    state_dir/embedded/                the control directory: guardian.lock, connection.json (0600), the logs
    home/postgresql-18  home/valkey    the data
    home/run                           the sockets, 0700

The home is the control directory itself. Only root may get another: PostgreSQL refuses to run as root, so root's
stores run as an account of their own, and where that account cannot enter state_dir the home is
`/var/lib/mtad/<hash of state_dir>`. What was chosen once is kept in connection.json; a data directory keeps its owner.

As root, a directory that belongs to the account is only ever handed to programs that run as the account: nothing in
it is opened, created or followed here. Permissions of directories that are not ours are never changed.
"""

import hashlib
import json
import os
import pwd
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mtad.model.errors import InvalidInput, Unavailable

POSTGRES_MAJOR = 18
ROOTS_HOME = Path("/var/lib/mtad")
ACCOUNTS = ("mtad", "postgres", "nobody")
DATABASE = "email_platform"
USER = "smtp_server"
PORT = "5432"
# How a guardian's last report begins when it gives up.
FAILED = "failed: "
# sun_path holds 108 octets, one of them NUL; PostgreSQL puts `/.s.PGSQL.5432` behind the directory's name.
_SOCKET_DIRECTORY_OCTETS = 107 - len(f"/.s.PGSQL.{PORT}")


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the stores run as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything of one state directory is. `account` None: the stores run as whoever starts them."""

    control: Path
    home: Path
    sockets: Path
    password: str
    account: Account | None

    @property
    def postgres_data(self) -> Path:
        """PostgreSQL's data directory; of another major version another one."""
        return self.home / f"postgresql-{POSTGRES_MAJOR}"

    @property
    def valkey_data(self) -> Path:
        """Valkey's data directory."""
        return self.home / "valkey"

    @property
    def redis_socket(self) -> Path:
        """The unix socket of Valkey."""
        return self.sockets / "valkey.sock"

    @property
    def record(self) -> dict[str, object]:
        """What connection.json says."""
        return {
            "home": "." if self.home == self.control else str(self.home),
            "database": {
                "host": str(self.sockets),
                "port": PORT,
                "dbname": DATABASE,
                "user": USER,
                "password": self.password,
            },
            "redis_socket": str(self.redis_socket),
        }


def control_directory(state_dir: Path) -> Path:
    """Return the directory of locks, logs and connection.json."""
    return state_dir / "embedded"


def read_record(control: Path) -> dict[str, object] | None:
    """Return what connection.json says; None when there is none."""
    path = control / "connection.json"
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidInput(str(path), f"cannot be read: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("database"), dict):
        raise InvalidInput(str(path), "expected the connection of the embedded stores")
    return record


def settle(state_dir: Path, new_password: Callable[[], str], say: Callable[[str], None]) -> Place:
    """Decide where the stores of `state_dir` live, make the directories that lack, and write connection.json.

    Only the holder of guardian.lock may call it. Raises InvalidInput or Unavailable.
    """
    control = control_directory(state_dir)
    record = read_record(control)
    try:
        if record is None:
            home = _new_home(state_dir, control, say)
            password = new_password()
        else:
            home = control / str(record["home"])
            password = str(dict(record["database"])["password"])  # type: ignore[call-overload]
            if not home.is_dir():
                raise InvalidInput(str(control / "connection.json"), f"the data should be in {home}, which is gone")
        account = _account_of(home)
        place = Place(control, home, _sockets(home, state_dir), password, account)
        if place.record != record:
            _write_record(place)
        for directory in (place.sockets, place.valkey_data):
            own(directory, account)
    except OSError as error:
        raise Unavailable("embedded stores", str(error)) from None
    return place


def own(directory: Path, account: Account | None) -> None:
    """Make a directory that only the stores may enter, or see that it is one."""
    uid = account.uid if account else os.geteuid()
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    else:
        if account:
            os.chown(directory, account.uid, account.gid, follow_symlinks=False)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) & 0o077:
        raise InvalidInput(str(directory), f"expected a directory with mode 0700 that belongs to user {uid}")


def may_enter(account: Account, *paths: Path) -> bool:
    """Whether the account can pass through each of these directories and run each of these programs.

    The kernel is asked, as the account: modes alone do not tell.
    """
    script = 'for path do test -x "$path" || exit 1; done'
    asked = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *map(str, paths)],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return asked.returncode == 0


def _new_home(state_dir: Path, control: Path, say: Callable[[str], None]) -> Path:
    """Return the home of stores that have none yet."""
    if os.geteuid() != 0 or may_enter(unprivileged(), control):
        if (control / f"postgresql-{POSTGRES_MAJOR}").exists():
            raise InvalidInput(
                str(control / "connection.json"),
                f"is gone and the password in it; restore it, or move {control} away to begin with empty stores",
            )
        return control
    home = roots_directory(_hashed(state_dir))
    if (home / f"postgresql-{POSTGRES_MAJOR}").exists():
        aside = home.with_name(f"{home.name}-{time.time_ns()}")
        os.rename(home, aside)
        say(f"{state_dir} is new; the data of an earlier one was set aside as {aside}")
    return roots_directory(_hashed(state_dir))


def roots_directory(name: str) -> Path:
    """Make a directory below /var/lib/mtad that everybody may pass through and only root may change."""
    for directory in (ROOTS_HOME, ROOTS_HOME / name):
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            pass
        else:
            os.chmod(directory, 0o755)
        found = os.lstat(directory)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or stat.S_IMODE(found.st_mode) & 0o022:
            raise InvalidInput(str(directory), "expected a directory that belongs to root and nobody else can change")
    return ROOTS_HOME / name


def unprivileged() -> Account:
    """Return whom root's stores run as: an account of their own if there is one, else the one with the least.

    `mtad` is made by who packages us, `postgres` comes with a distribution's PostgreSQL, `nobody` is everywhere.
    """
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise Unavailable("embedded stores", f"root needs one of the accounts {', '.join(ACCOUNTS)} to run them as")


def _account_of(home: Path) -> Account | None:
    """Return whom the stores in `home` run as: who owns the data, else a fresh choice."""
    if os.geteuid() != 0:
        return None
    try:
        found = os.lstat(home / f"postgresql-{POSTGRES_MAJOR}")
    except FileNotFoundError:
        return unprivileged()
    return Account(str(found.st_uid), found.st_uid, found.st_gid)


def _sockets(home: Path, state_dir: Path) -> Path:
    """Return a directory for sockets whose name is short enough; the same for the same home and user.

    /tmp and not XDG_RUNTIME_DIR: that one goes when the user logs out, while a server may stay.
    """
    wanted = home / "run"
    if len(os.fsencode(wanted)) <= _SOCKET_DIRECTORY_OCTETS:
        return wanted
    if os.geteuid() == 0:
        return roots_directory(_hashed(state_dir)) / "run"
    return Path(f"/tmp/mtad-{os.geteuid()}-{_hashed(home)}")  # noqa: S108 - own() checks who it belongs to


def _hashed(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _write_record(place: Place) -> None:
    """Replace connection.json in one step."""
    fresh = place.control / "connection.json.new"
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(place.record, file, indent=1)
        file.flush()
        os.fsync(descriptor)
    os.rename(fresh, place.control / "connection.json")
