"""Several processes under a supervisor, on real ports: they share the work, and come and go while nobody notices."""

import os
import re
import select
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.system.load import Load, text_of
from tests.system.replicas import SUPERVISOR, family
from tests.system.server import RunningServer, free_port

RETURN_PATH = re.compile(rb"\AReturn-Path: <(.*?)>\n")
RECIPIENTS = ["alice@acme.example", "bob@acme.example"]


def below(pid: int) -> set[int]:
    """Return all processes below one."""
    return set(family(pid)[1:])


class Watched:
    """Processes that are to end."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._descriptors = {os.pidfd_open(pid): pid for pid in pids}

    def left(self, within_seconds: float) -> set[int]:
        """Return those that have not ended by then."""
        deadline = time.monotonic() + within_seconds
        left = dict(self._descriptors)
        while left and (seconds := deadline - time.monotonic()) > 0:
            for ended in select.select(list(left), [], [], seconds)[0]:
                del left[ended]
        return set(left.values())

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)


class Knocking:
    """Connects again and again, and keeps what went wrong."""

    def __init__(self, port: int) -> None:
        self.troubles: list[str] = []
        self.greeted = 0
        self._port = port
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._ending.wait(0.005):
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=30) as connection:
                    greeting = connection.recv(100)
            except OSError as error:
                self.troubles.append(repr(error))
                continue
            if greeting.startswith(b"220 "):
                self.greeted += 1
            else:
                self.troubles.append(repr(greeting))


class ProcessesTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = RunningServer({"server": {"processes": 2}, "queue": {"retry_delay": "1s"}})
        self.addCleanup(self.server.close)
        self.server.apply()

    def start(self) -> None:
        self.server.start()
        if self.server.log[-1]["process"] != SUPERVISOR:
            self.wait_for("service.started")

    def wait_for(self, event: str, where: Callable[[dict[str, object]], bool] | None = None) -> dict[str, object]:
        """Wait for a line of the supervisor's, or one that `where` says."""
        while True:
            line = self.server.wait_for(event)
            if where(line) if where else line["process"] == SUPERVISOR:
                return line

    def pids(self) -> dict[int, int]:
        """Return the process of each number that came up last."""
        up = [line for line in self.server.log if line.get("event") == "process.up"]
        return {int(str(line["number"])): int(str(line["pid"])) for line in up}

    def lines(self, event: str, since: int = 0) -> list[dict[str, object]]:
        return [line for line in self.server.log[since:] if line.get("event") == event]

    def change(self, section: str, **keys: object) -> None:
        configured = yaml.safe_load(self.server.config.read_text())
        configured.setdefault(section, {}).update(keys)
        self.server.config.write_text(yaml.safe_dump(configured))

    def get(self, path: str, port: int | None = None) -> tuple[int, str]:
        url = f"http://127.0.0.1:{port or self.server.http_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        assert found, name
        return float(found[1])

    def load(self, threads: int = 4) -> Load:
        load = Load(self.server.smtp_port, RECIPIENTS, threads)
        self.addCleanup(load.close)
        load.up()
        return load

    def arrived(self) -> list[str]:
        """Return the messages that are in mailboxes, by their reverse-paths."""
        found = []
        for address in RECIPIENTS:
            for mail in self.server.mail(address):
                path = RETURN_PATH.match(mail)
                assert path, mail[:100]
                self.assertTrue(mail.endswith(text_of(path[1].decode()).replace(b"\r\n", b"\n")))
                found.append(path[1].decode())
        return found

    def wait_delivered(self, wanted: set[str]) -> None:
        while not wanted <= set(self.arrived()):
            self.server.wait_for("delivery.delivered")

    def greeting(self, port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            return connection.recv(100)

    def test_all_serve_and_one_scrape_is_the_sum(self) -> None:
        self.start()
        self.assertEqual(len(set(self.pids().values())), 2)
        sent = 0
        while {line["process"] for line in self.lines("smtp.accepted")} != {1, 2} and sent < 300:
            with smtplib.SMTP("127.0.0.1", self.server.smtp_port, timeout=30) as client:
                client.sendmail(f"m{sent}@outside.example", RECIPIENTS[sent % 2], text_of(f"m{sent}@outside.example"))
            self.server.wait_for("smtp.accepted")
            sent += 1
        self.assertEqual({line["process"] for line in self.lines("smtp.accepted")}, {1, 2})
        self.assertEqual(self.metric("smtp_messages_received_total"), sent)
        self.assertEqual(self.metric("server_processes"), 2)
        self.assertGreater(self.metric("node_lease_seconds"), 5)
        self.wait_delivered({f"m{number}@outside.example" for number in range(sent)})
        status, ready = self.get("/ready")
        self.assertEqual((status, sorted(yaml.safe_load(ready)["processes"])), (200, ["1", "2"]))
        nodes = yaml.safe_load(self.server.mtactl("node", "list", "--json"))
        self.assertEqual([(node["name"], node["draining"]) for node in nodes], [("mx.test", False)] * 2)
        self.assertEqual({node["process"] for node in nodes}, {1, 2})
        self.stop_and_look_for_leftovers()

    def stop_and_look_for_leftovers(self) -> None:
        everybody = below(self.server.pid)
        self.assertEqual(len(everybody), 4, "two processes, and each its own for waits on disks")
        watched = Watched(everybody)
        self.addCleanup(watched.close)
        begun = time.monotonic()
        self.assertEqual(self.server.stop(), -signal.SIGTERM)
        self.assertLess(time.monotonic() - begun, 20)
        self.assertEqual(watched.left(0.5), set())
        self.assertEqual({line["process"] for line in self.lines("service.stopped")}, {0, 1, 2})
        self.assertEqual(self.server.database_ask("select owner from nodes"), [])

    def test_a_process_that_is_killed_is_started_again_and_its_mail_taken_over(self) -> None:
        self.start()
        load = self.load(8)
        load.wait_acknowledged(100)
        before = self.metric("smtp_messages_received_total")
        killed = self.pids()[1]
        owners = {line["owner"] for line in self.lines("node.joined") if line["process"] == 1}
        since = len(self.server.log)
        os.kill(killed, signal.SIGKILL)
        ended = self.wait_for("process.ended")
        self.assertEqual((ended["number"], ended["pid"], ended["how"]), (1, killed, "signal 9"))
        self.assertEqual(self.get("/ready")[0], 200, "one is enough")
        self.wait_for("process.up")
        self.assertNotEqual(self.pids()[1], killed)
        taken = self.wait_for("node.taken_over", lambda line: line["owner"] in owners)
        self.assertIn(taken["process"], (1, 2))
        load.wait_acknowledged(20)
        load.close()
        self.assertGreaterEqual(self.metric("smtp_messages_received_total"), before)
        self.assertEqual(self.metric("server_process_ends_total"), 1)
        self.wait_delivered(load.acknowledged)
        self.assertTrue(self.lines("service.started", since))

    def test_a_reload_refuses_nobody_and_loses_nothing(self) -> None:
        self.start()
        load, knocking = self.load(), Knocking(self.server.smtp_port)
        self.addCleanup(knocking.end)
        load.wait_acknowledged(50)
        old = Watched(self.pids().values())
        self.addCleanup(old.close)
        received = self.metric("smtp_messages_received_total")
        new_port, new_http = free_port(), free_port()
        self.change(
            "server", submission_addr=f"127.0.0.1:{new_port}", http_addr=f"127.0.0.1:{new_http}", hostname="new.test"
        )
        os.kill(self.server.pid, signal.SIGHUP)
        done = self.wait_for("reload.done")
        self.assertEqual(done["processes"], 2)
        self.assertEqual(old.left(1), set())
        load.wait_acknowledged(50)
        load.close()
        knocking.end()
        self.assertEqual(knocking.troubles, [])
        self.assertGreater(knocking.greeted, 20)
        self.assertTrue(self.greeting(self.server.smtp_port).startswith(b"220 new.test "))
        self.assertTrue(self.greeting(new_port).startswith(b"220 new.test "))
        self.assertRaises(ConnectionRefusedError, self.greeting, self.server.submission_port)
        self.assertRaises(urllib.error.URLError, self.get, "/health")
        self.server.http_port = new_http
        self.assertGreaterEqual(self.metric("smtp_messages_received_total"), received + 50, "of those before, too")
        self.wait_delivered(load.acknowledged)

    def test_a_reload_of_what_is_wrong_changes_nothing(self) -> None:
        self.start()
        pids = self.pids()
        good = self.server.config.read_text()
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        for wrong, said in (
            ("server: {no", "config.yaml:1: "),
            ("server: {max_recipiens: 5}\n", "server.max_recipiens: unknown key"),
            (good + f"tls: {{cert_file: {self.server.config}, key_file: {self.server.config}}}\n", "config.yaml"),
            (
                good.replace(str(self.server.submission_port), str(taken.getsockname()[1])),
                "cannot listen there: Address already in use",
            ),
        ):
            self.server.config.write_text(wrong)
            os.kill(self.server.pid, signal.SIGHUP)
            self.assertIn(said, str(self.wait_for("reload.refused")["reason"]))
        refused = subprocess.run(
            [sys.executable, "-m", "mtad.ctl", "--config", str(self.with_good(good)), "reload", "--timeout", "60"],
            capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        self.assertEqual((refused.returncode, refused.stderr.count("\n")), (1, 1))
        self.assertIn("mtactl: mx.test: reload refused: 127.0.0.1:", refused.stderr)
        self.assertEqual(self.pids(), pids)
        self.assertTrue(self.greeting(self.server.smtp_port).startswith(b"220 mx.test "))
        os.kill(pids[2], signal.SIGKILL)
        self.wait_for("process.up")
        self.assertTrue(self.greeting(self.server.submission_port).startswith(b"220 mx.test "), "as before")

    def with_good(self, good: str) -> Path:
        """Return a configuration for mtactl that the server does not have."""
        path = self.server.path / "good.yaml"
        path.write_text(good)
        return path

    def test_mtactl_reloads_to_another_number_of_processes(self) -> None:
        self.start()
        self.change("server", processes=1)
        said = self.server.mtactl("reload", "mx.test")
        self.assertEqual(said.splitlines()[0], "mx.test: 2 to be replaced")
        self.assertEqual(said.splitlines()[-1], "reloaded")
        self.wait_for("reload.done")
        self.assertEqual(len(self.server.database_ask("select owner from nodes")), 1)
        self.assertEqual(len(self.lines("reload.begun")), 1)
        self.assertEqual(self.metric("server_processes"), 1)
        ((who, command, what, count),) = self.server.database_ask(
            "select who, command, what, count from audit where command like '%reload'"
        )
        self.assertEqual((command, what, count), ("mtactl reload", "mx.test", 2))
        self.assertTrue(who)

    def test_mtactl_drains_and_takes_it_back(self) -> None:
        self.start()
        owners = sorted(owner for (owner,) in self.server.database_ask("select owner from nodes"))
        self.assertTrue(self.server.mtactl("drain", str(owners[0])).endswith("drained\n"))
        for _ in range(20):
            self.assertTrue(self.greeting(self.server.smtp_port).startswith(b"220 "), "the other one takes them")
        self.assertEqual(self.get("/ready")[0], 200)
        self.server.mtactl("drain", "mx.test")
        self.assertTrue(self.greeting(self.server.smtp_port).startswith(b"421 4.3.2 "))
        status, ready = self.get("/ready")
        self.assertEqual(status, 503)
        self.assertEqual({page["draining"] for page in yaml.safe_load(ready)["processes"].values()}, {True})
        os.kill(self.pids()[1], signal.SIGKILL)
        self.wait_for("node.draining", lambda line: line["process"] == 1)
        self.wait_for("process.up")
        self.assertTrue(self.greeting(self.server.smtp_port).startswith(b"421 4.3.2 "), "also from one started again")
        self.assertTrue(self.server.mtactl("drain", "--all", "--undo").endswith("working again\n"))
        self.assertTrue(self.greeting(self.server.smtp_port).startswith(b"220 "))
        self.assertEqual(self.get("/ready")[0], 200)
        noted = self.server.database_ask(
            "select command, what, count from audit where command like '%drain%' order by id"
        )
        self.assertEqual(noted[:2], [("mtactl drain", str(owners[0]), 1), ("mtactl drain", "mx.test", 1)])
        self.assertEqual(noted[2][:2], ("mtactl drain --undo", "all nodes"))

    def test_a_supervisor_that_is_killed_leaves_nobody(self) -> None:
        self.start()
        watched = Watched(below(self.server.pid))
        self.addCleanup(watched.close)
        self.server.kill()
        self.assertEqual(watched.left(20), set())
        self.assertEqual(self.server.database_ask("select owner from nodes"), [], "they stopped in good order")
        self.assertEqual({line["process"] for line in self.lines("service.stopped")}, {1, 2})

    def refused(self, *options: str) -> str:
        twistd = Path(sys.executable).with_name("twistd")
        done = subprocess.run(
            [twistd, *options, "--pidfile=", "mtad", "--config", self.server.config],
            capture_output=True, text=True, timeout=60, cwd=self.server.path,
        )  # fmt: skip
        self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1), done.stderr)
        return done.stderr

    def test_what_keeps_it_from_starting_is_one_line(self) -> None:
        with socket.create_server(("127.0.0.1", self.server.submission_port)):
            said = f"mtad: 127.0.0.1:{self.server.submission_port}: cannot listen there: Address already in use\n"
            self.assertEqual(self.refused("-n"), said)
        self.assertIn("processes log to standard output", self.refused("-n", "--logfile=log"))
        self.assertIn("processes log to standard output", self.refused())
        self.change("tls", cert_file=str(self.server.config), key_file=str(self.server.config))
        self.assertIn("config.yaml", self.refused("-n"))

    def test_a_process_that_cannot_start_ends_the_first_start(self) -> None:
        # A file where the directory of the spool would be: only a process makes it.
        (self.server.path / "state").mkdir()
        (self.server.path / "state" / "spool").write_text("")
        twistd = Path(sys.executable).with_name("twistd")
        done = subprocess.run(
            [twistd, "-n", "--pidfile=", "mtad", "--config", self.server.config],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        self.assertEqual(done.returncode, 1)
        self.assertIn("ended before it was up: status 1", done.stderr)
        self.assertIn("spool", done.stderr)


class AloneTest(SynchronousTestCase):
    def test_without_a_supervisor_a_hangup_ends_nothing(self) -> None:
        server = RunningServer()
        self.addCleanup(server.close)
        server.apply()
        server.start()
        os.kill(server.pid, signal.SIGHUP)
        self.assertIn("server.processes is not set", str(server.wait_for("reload.refused")["reason"]))
        with smtplib.SMTP("127.0.0.1", server.smtp_port, timeout=30) as client:
            self.assertEqual(client.noop()[0], 250)
        self.assertNotIn("process", server.log[-1])
