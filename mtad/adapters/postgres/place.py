"""Where the embedded stores live, and as whom they run (DESIGN D5).

    state_dir/embedded.STORE.lock      a shared flock a user, the exclusive one its guardian's
    state_dir/embedded/                the control directory: STORE-guardian.lock, connection.json (0600), the logs
    home/postgresql-18  home/valkey    the data
    home/run                           the sockets, 0700

The home is the control directory itself. Only root may get another: PostgreSQL refuses to run as root, so root's
stores run as an account of their own, and where that account cannot enter state_dir the home is
`/var/lib/mtad/<hash of state_dir>`. What was chosen once is kept in connection.json; a data directory keeps its owner.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from mtad.adapters.postgres.accounts import Account, may_enter, own, roots_directory, unprivileged
from mtad.adapters.postgres.locks import open_lock, take_alone, try_alone
from mtad.model.errors import InvalidInput

POSTGRES_MAJOR = 18
_POSTGRES_DATA = f"postgresql-{POSTGRES_MAJOR}"
_VALKEY_DATA = "valkey"
_POSTGRES_LOCK = "postgresql.lock"
_VALKEY_LOCK = "valkey.lock"
_SETTLING_LOCK = "settling.lock"
_CONNECTION = "connection.json"
DATABASE = "email_platform"
USER = "smtp_server"
PORT = "5432"
# sun_path holds 108 octets, one of them NUL; PostgreSQL puts `/.s.PGSQL.5432` behind the directory's name.
_SOCKET_DIRECTORY_OCTETS = 107 - len(f"/.s.PGSQL.{PORT}")


class Store(Enum):
    """A store one may use without the other; the value names its files."""

    POSTGRES = "postgresql"
    VALKEY = "valkey"

    def users_lock(self, state_dir: Path) -> Path:
        """Return the file its users share a lock on."""
        return state_dir / f"embedded.{self.value}.lock"

    def guardian_lock(self, control: Path) -> Path:
        """Return the file its guardian keeps locked."""
        return control / f"{self.value}-guardian.lock"

    def guardian_log(self, control: Path) -> Path:
        """Return the log of its guardian."""
        return control / f"{self.value}-guardian.log"

    def log(self, control: Path) -> Path:
        """Return the log of the store itself."""
        return control / f"{self.value}.log"


@dataclass(frozen=True, slots=True)
class Connection:
    """What connection.json says: where the data are ("." for the control directory) and how to connect.

    It says so of both stores, whichever of them is used. `database` are libpq's words, `redis_socket` is a path.
    """

    home: str
    database: dict[str, str]
    redis_socket: str


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
        return self.home / _POSTGRES_DATA

    @property
    def valkey_data(self) -> Path:
        """Valkey's data directory."""
        return self.home / _VALKEY_DATA

    @property
    def postgres_lock(self) -> Path:
        """The file PostgreSQL's processes keep locked."""
        return self.home / _POSTGRES_LOCK

    @property
    def valkey_lock(self) -> Path:
        """The file Valkey's process keeps locked."""
        return self.home / _VALKEY_LOCK

    @property
    def connection(self) -> Connection:
        """How users connect."""
        database = {
            "host": str(self.sockets),
            "port": PORT,
            "dbname": DATABASE,
            "user": USER,
            "password": self.password,
        }
        home = "." if self.home == self.control else str(self.home)
        return Connection(home, database, str(self.sockets / "valkey.sock"))


def control_directory(state_dir: Path) -> Path:
    """Return the directory of locks, logs and connection.json."""
    return state_dir / "embedded"


def read_connection(control: Path) -> Connection | None:
    """Return what connection.json says, None when there is none; InvalidInput when it says something else."""
    path = control / _CONNECTION
    try:
        found = json.loads(path.read_bytes())
        home, database, redis_socket = found["home"], found["database"], found["redis_socket"]
        words = [home, redis_socket, *database, *database.values()]
        if not all(isinstance(word, str) for word in words) or "password" not in database:
            raise TypeError("not what was written there")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InvalidInput(str(path), f"expected how to connect to the embedded stores: {error}") from None
    return Connection(home, database, redis_socket)


def settle(state_dir: Path, new_password: Callable[[], str], say: Callable[[str], None]) -> Place:
    """Decide where the stores of `state_dir` live, have a directory for their sockets, and write connection.json.

    Whichever store is first decides for both; their guardians wait for each other here. Raises InvalidInput,
    Unavailable or OSError.
    """
    control = control_directory(state_dir)
    settling = open_lock(control / _SETTLING_LOCK)
    try:
        take_alone(settling)
        return _settle(state_dir, control, new_password, say)
    finally:
        os.close(settling)


def _settle(state_dir: Path, control: Path, new_password: Callable[[], str], say: Callable[[str], None]) -> Place:
    known = read_connection(control)
    if known:
        home, password = control / known.home, known.database["password"]
        if not home.is_dir():
            raise InvalidInput(str(control / _CONNECTION), f"the data should be in {home}, which is gone")
    else:
        home, password = _new_home(state_dir, control, say), new_password()
    place = Place(control, home, _sockets(home, state_dir), password, _account_of(home))
    if place.connection != known:
        _write_connection(place)
    own(place.sockets, place.account)
    return place


def _new_home(state_dir: Path, control: Path, say: Callable[[str], None]) -> Path:
    """Return the home of stores that have none yet."""
    if os.geteuid() != 0 or may_enter(unprivileged(), control):
        if (control / _POSTGRES_DATA).exists():
            raise InvalidInput(
                str(control / _CONNECTION),
                f"is gone and the password in it; restore it, or move {control} away to begin with empty stores",
            )
        return control
    home = roots_directory(_hashed(state_dir))
    if any((home / data).exists() for data in (_POSTGRES_DATA, _VALKEY_DATA)):
        if any(_in_use(home / lock) for lock in (_POSTGRES_LOCK, _VALKEY_LOCK)):
            raise InvalidInput(str(state_dir), f"is new, but the stores of an earlier one still run in {home}")
        aside = home.with_name(f"{home.name}-{time.time_ns()}")
        os.rename(home, aside)
        say(f"{state_dir} is new; the data of an earlier one was set aside as {aside}")
    return roots_directory(_hashed(state_dir))


def _account_of(home: Path) -> Account | None:
    """Return whom the stores in `home` run as: who owns the data, else a fresh choice."""
    if os.geteuid() != 0:
        return None
    for data in (_POSTGRES_DATA, _VALKEY_DATA):
        try:
            found = os.lstat(home / data)
        except FileNotFoundError:
            continue
        return Account(str(found.st_uid), found.st_uid, found.st_gid)
    return unprivileged()


def _in_use(lock: Path) -> bool:
    descriptor = open_lock(lock)
    try:
        return not try_alone(descriptor)
    finally:
        os.close(descriptor)


def _sockets(home: Path, state_dir: Path) -> Path:
    """Return a directory for sockets with a name that fits; the same for the same home and user.

    /tmp and not XDG_RUNTIME_DIR: that one goes when the user logs out, while a server may stay.
    """
    wanted = home / "run"
    if fits_sockets(wanted):
        return wanted
    if os.geteuid() == 0:
        return roots_directory(_hashed(state_dir)) / "run"
    return Path(f"/tmp/mtad-{os.geteuid()}-{_hashed(home)}")  # noqa: S108 - own() checks who it belongs to


def fits_sockets(directory: Path) -> bool:
    """Whether a socket in the directory can be named: shortly enough, and libpq takes commas for more hosts."""
    name = str(directory)
    plain = name.isascii() and name.isprintable() and not set(name) & set(',"')
    return plain and len(name) <= _SOCKET_DIRECTORY_OCTETS


def _hashed(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _write_connection(place: Place) -> None:
    """Replace connection.json in one step."""
    fresh = place.control / f"{_CONNECTION}.new"
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(place.connection), file, indent=1)
        file.flush()
        os.fsync(descriptor)
    os.rename(fresh, place.control / _CONNECTION)
