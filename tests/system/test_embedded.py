"""The embedded stores under kills and races, with real servers (DESIGN D5)."""

import atexit
import contextlib
import functools
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import skipUnless

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.postgres import embedded
from mtad.adapters.postgres.accounts import Account, may_enter
from mtad.adapters.postgres.embedded import EmbeddedStores
from mtad.adapters.postgres.place import Store, read_connection
from mtad.model.errors import Unavailable
from tests.stores import wait_stopped

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0
LOGS = ("postgresql-guardian", "valkey-guardian", "postgresql", "valkey")

# A user in a process of its own. It leaves a child behind that inherits all that can be inherited by an executed
# program, forks as twistd does when it becomes a daemon, and stays until it is killed.
USER = """
import os, subprocess, sys
from pathlib import Path
from mtad.adapters.postgres import embedded
stores = embedded.start(Path(sys.argv[1]), lambda line: None)
child = subprocess.Popen(["sleep", "1000"], close_fds=False, stdout=subprocess.DEVNULL)
if os.fork():
    os._exit(0)
print(os.getpid(), child.pid, flush=True)
sys.stdin.read()
"""


def quiet(line: str) -> None:
    """Hear nothing."""


def servers_of(state_dir: Path) -> dict[int, Path]:
    """Return the processes that work in the state directory, and where: PostgreSQL with its children, and Valkey."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            directory = (process / "cwd").readlink()
            if directory.is_relative_to(state_dir):
                found[int(process.name)] = directory
    return found


def guardians_of(state_dir: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"mtad.adapters.postgres.guardian" in words and os.fsencode(state_dir) in words:
                found.append(int(process.name))
    return found


@functools.cache
def used_before() -> Path:
    """Return a state directory whose stores were made, used and stopped; making one takes a second or two."""
    parent = new_parent()
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    embedded.start(parent / "state", quiet).close()
    assert wait_stopped(parent / "state")
    return parent / "state"


def new_parent() -> Path:
    """Return a directory that everybody may enter, so that root's stores, too, live in it."""
    parent = Path(tempfile.mkdtemp(prefix="mtad-embedded-")).resolve()
    parent.chmod(0o755)
    return parent


class EmbeddedTest(SynchronousTestCase):
    """Tests leave their stores stopped, and fit to be used by the next."""

    def setUp(self) -> None:
        self.users: list[EmbeddedStores] = []
        self.logged: dict[str, int] = {}
        self.addCleanup(self.leave)
        self.state_dir = used_before()
        self.logged = {name: len(self.log(name)) for name in LOGS}

    def start_afresh(self) -> None:
        """Have a state directory that is yet to be made."""
        parent = new_parent()
        self.addCleanup(shutil.rmtree, parent)
        self.addCleanup(self.leave)
        self.state_dir = parent / "state"
        self.logged = {}

    def leave(self) -> None:
        while self.users:
            self.users.pop().close()
        if self.state_dir.exists():
            self.await_stop()

    def start(self, **wanted: bool) -> EmbeddedStores:
        self.users.append(embedded.start(self.state_dir, quiet, **wanted))
        return self.users[-1]

    def working(self) -> list[str]:
        """Return the servers that run, by the names of their data directories."""
        directories = {"postgresql-18": "postgresql", "valkey": "valkey"}
        return sorted({directories[directory.name] for directory in servers_of(self.state_dir).values()})

    def stop(self) -> None:
        self.users.pop().close()

    def await_stop(self) -> None:
        self.assertTrue(wait_stopped(self.state_dir), "the stores did not stop")

    def process(self) -> "subprocess.Popen[bytes]":
        """Return a user in a process of its own, which is about to start the stores."""
        user = subprocess.Popen(
            [sys.executable, "-c", USER, str(self.state_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self.addCleanup(user.communicate)
        return user

    def pids(self, user: "subprocess.Popen[bytes]") -> tuple[int, int]:
        """Return the process id of a user that has the stores, and of its child."""
        assert user.stdout
        self.assertTrue(select.select([user.stdout], [], [], PATIENCE_SECONDS)[0], "the user does not answer")
        pid, child = map(int, user.stdout.readline().split())
        self.addCleanup(os.kill, child, signal.SIGKILL)
        return pid, child

    def log(self, name: str) -> str:
        """Return what was logged during this test."""
        text = (self.state_dir / "embedded" / f"{name}.log").read_text()
        return text[self.logged.get(name, 0) :]

    @contextlib.contextmanager
    def cursor(self, stores: EmbeddedStores) -> Iterator["psycopg2.extensions.cursor"]:
        connecting = contextlib.closing(psycopg2.connect(**stores.database))
        with connecting as connection, connection, connection.cursor() as cursor:
            yield cursor

    def remember(self, stores: EmbeddedStores, word: str) -> None:
        with self.cursor(stores) as cursor:
            cursor.execute("create table if not exists words (test text, word text)")
            cursor.execute("insert into words values (%s, %s)", (self.id(), word))

    def remembered(self, stores: EmbeddedStores) -> list[str]:
        with self.cursor(stores) as cursor:
            cursor.execute("select word from words where test = %s order by word", (self.id(),))
            return [word for (word,) in cursor.fetchall()]


class LifeTest(EmbeddedTest):
    def test_what_is_promised_of_the_servers(self) -> None:
        stores = self.start()
        with self.cursor(stores) as cursor:
            cursor.execute(
                "select current_setting('server_encoding'), datcollate, current_setting('listen_addresses'),"
                " current_setting('shared_buffers'), current_setting('max_wal_size'), current_setting('jit'),"
                " current_setting('fsync'), current_setting('synchronous_commit'), current_setting('is_superuser')"
                " from pg_database where datname = current_database()"
            )
            self.assertEqual(cursor.fetchone(), ("UTF8", "C", "", "512MB", "4GB", "off", "on", "on", "off"))
        sockets = Path(stores.database["host"]).stat()
        self.assertEqual(stat.S_IMODE(sockets.st_mode), 0o700)
        secret = self.state_dir / "embedded" / "connection.json"
        self.assertEqual(stat.S_IMODE(secret.stat().st_mode), 0o600)
        self.assertIn(stores.database["password"], secret.read_text())
        for password in ("", "wrong"):
            with self.assertRaises(psycopg2.OperationalError):
                psycopg2.connect(**{**stores.database, "password": password})
        with self.assertRaises(psycopg2.OperationalError):
            psycopg2.connect(**{**stores.database, "user": "postgres"})

    def test_a_second_start_finds_the_same_data(self) -> None:
        first = self.start()
        self.remember(first, "kept")
        self.stop()
        self.await_stop()
        self.assertEqual(self.working(), [])
        second = self.start()
        self.assertEqual(self.remembered(second), ["kept"])
        self.assertEqual(second.database, first.database)

    def test_starts_right_while_the_guardian_stops(self) -> None:
        words = []
        for word in "abcd":
            self.remember(self.start(), word)
            words.append(word)
            self.stop()
        self.assertEqual(self.remembered(self.start()), words)
        self.assertLessEqual(len(guardians_of(self.state_dir)), 2)

    def test_users_start_at_once_where_there_is_nothing(self) -> None:
        self.start_afresh()
        users = [self.process() for _ in range(3)]
        killed = [self.pids(user)[0] for user in users]
        self.assertEqual(self.log("postgresql-guardian").count("creating"), 1)
        self.assertEqual(self.log("postgresql").count("starting PostgreSQL"), 1)
        self.assertEqual(len(guardians_of(self.state_dir)), 2)
        stays = self.start()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        self.remember(stays, "still here")
        self.assertEqual(self.remembered(stays), ["still here"])

    def test_a_long_name_of_the_state_directory(self) -> None:
        self.start_afresh()
        self.state_dir = self.state_dir / ("long" * 30) / "and, commas"
        self.remember(self.start(), "reached")
        sockets = Path(self.users[0].database["host"])
        self.assertFalse(sockets.is_relative_to(self.state_dir))
        self.assertEqual(stat.S_IMODE(sockets.stat().st_mode), 0o700)
        self.addCleanup(shutil.rmtree, sockets if os.geteuid() else sockets.parent)
        self.addCleanup(self.leave)


class WantedTest(EmbeddedTest):
    def test_only_what_is_wanted_is_made(self) -> None:
        self.start_afresh()
        self.start(database=False)
        self.assertEqual(self.working(), ["valkey"])
        self.assertFalse((self.state_dir / "embedded" / "postgresql-18").exists())
        self.remember(self.start(redis=False), "made later")
        self.assertEqual(self.working(), ["postgresql", "valkey"])
        self.assertEqual(self.remembered(self.start()), ["made later"])

    def test_each_store_runs_as_long_as_somebody_wants_it(self) -> None:
        database, redis = self.start(redis=False), self.start(database=False)
        self.assertEqual(self.working(), ["postgresql", "valkey"])
        self.users.remove(database)
        database.close()
        wait_stopped(self.state_dir, stores=[Store.POSTGRES])
        self.assertEqual(self.working(), ["valkey"])
        self.users.remove(redis)
        both = self.start()
        redis.close()
        self.remember(both, "both")
        self.assertEqual(self.working(), ["postgresql", "valkey"])


class KillTest(EmbeddedTest):
    def test_a_killed_user_leaves_nothing(self) -> None:
        user = self.process()
        pid, child = self.pids(user)
        self.assertNotEqual(self.working(), [])
        os.kill(pid, signal.SIGKILL)
        self.await_stop()
        os.kill(child, 0)  # lives, and has no part in the lock
        self.assertEqual(self.working(), [])
        self.assertIn("database system is shut down", self.log("postgresql"))
        self.assertIn("bye bye", self.log("valkey"))
        self.start()
        self.assertNotIn("not properly shut down", self.log("postgresql"))

    def test_a_killed_server_is_started_again(self) -> None:
        stores = self.start()
        self.remember(stores, "committed")
        data = self.state_dir / "embedded" / "postgresql-18"
        os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        valkey = self.state_dir / "embedded" / "valkey" / "valkey.pid"
        os.kill(int(valkey.read_text()), signal.SIGKILL)
        self.assertEqual(self.remembered(self.start()), ["committed"])

    def test_a_killed_guardian_is_followed_by_one_that_adopts(self) -> None:
        stores = self.start()
        self.remember(stores, "before")
        before = servers_of(self.state_dir)
        for guardian in guardians_of(self.state_dir):
            os.kill(guardian, signal.SIGKILL)
        self.await_stop()
        self.assertEqual(self.remembered(self.start()), ["before"])
        self.assertTrue(set(before) & set(servers_of(self.state_dir)), "the servers were started anew")
        self.leave()
        self.assertEqual(self.working(), [])
        self.assertIn("database system is shut down", self.log("postgresql"))

    def test_all_killed_and_their_numbers_given_to_others(self) -> None:
        stores = self.start()
        self.remember(stores, "survives")
        for pid in [*guardians_of(self.state_dir), *servers_of(self.state_dir)]:
            os.kill(pid, signal.SIGKILL)
        self.stop()
        data = self.state_dir / "embedded" / "postgresql-18"
        (data / "postmaster.pid").unlink(missing_ok=True)
        (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n")
        self.assertEqual(self.remembered(self.start()), ["survives"])

    def test_data_postgresql_refuses(self) -> None:
        self.start()
        self.leave()
        version = self.state_dir / "embedded" / "postgresql-18" / "PG_VERSION"
        self.addCleanup(version.write_text, version.read_text())
        version.write_text("9.6\n")
        with self.assertRaises(Unavailable) as caught:
            self.start()
        self.assertIn("PostgreSQL: does not stay up", str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))
        self.await_stop()
        self.assertEqual(self.working(), [])


@skipUnless(os.geteuid() == 0, "only root has to run the stores as somebody else")
class RootTest(EmbeddedTest):
    def test_where_the_account_cannot_enter(self) -> None:
        self.start_afresh()
        self.state_dir.mkdir()
        self.state_dir.parent.chmod(0o700)
        self.remember(self.start(), "elsewhere")
        connection = read_connection(self.state_dir / "embedded")
        assert connection
        self.addCleanup(shutil.rmtree, connection.home)
        self.addCleanup(self.leave)
        self.assertEqual(Path(connection.home).parent, Path("/var/lib/mtad"))
        self.assertEqual(stat.S_IMODE(self.state_dir.parent.stat().st_mode), 0o700)
        self.leave()
        self.assertEqual(self.remembered(self.start()), ["elsewhere"])

    def test_a_state_directory_of_somebody_else_stays_theirs(self) -> None:
        somebody = Account("somebody", 12345, 12345)
        self.start_afresh()
        self.state_dir.mkdir()
        os.chown(self.state_dir, somebody.uid, somebody.gid)
        if may_enter(somebody, Path(sys.executable)):
            self.remember(self.start(), "theirs")
        else:
            with self.assertRaisesRegex(Unavailable, "as user 12345, whom they belong to: .*Permission denied"):
                self.start()
        owners = {path.stat().st_uid for path in self.state_dir.rglob("*")}
        self.assertEqual(owners, {somebody.uid})
