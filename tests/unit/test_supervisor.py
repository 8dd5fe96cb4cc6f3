"""The supervisor, over processes and a network in the hands of a test."""

from pathlib import Path
from socket import socket

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.metrics import Journal
from mtad.config import Settings
from mtad.model.errors import InvalidInput, Unavailable
from mtad.model.event import Fact
from mtad.model.journal import Level
from mtad.processes.plan import Plan, read_plan
from mtad.processes.running import DRAINING, LAST, REFUSE, REFUSED, RELOAD, STARTED
from mtad.processes.sockets import Sockets
from mtad.processes.supervisor import Supervisor


class FakeLink:
    """Keeps what a process is told, and answers nothing."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def tell(self, what: str, value: object = None) -> None:
        self.told.append((what, value))


class FakeProcess:
    """A process: it comes up, says things, stops when asked, or ends."""

    def __init__(self, serial: int, number: int, plan: Plan, sockets, heard, ended, clock: Clock) -> None:
        self.serial, self.number, self.plan, self.sockets = serial, number, plan, sockets
        self.pid = 4000 + serial
        self.link = FakeLink()
        self.up = self.draining = self.stopping = False
        self.how_it_ended: str | None = None
        self._heard, self._ended, self._clock = heard, ended, clock
        self._begun_at = clock.seconds()
        self._waiting_up: list[Deferred[None]] = []
        self._waiting_end: list[Deferred[None]] = []

    @property
    def lived_seconds(self) -> float:
        return self._clock.seconds() - self._begun_at

    def when_up(self) -> "Deferred[None]":
        waiter: Deferred[None] = Deferred()
        self._waiting_up.append(waiter)
        return waiter

    def when_ended(self) -> "Deferred[None]":
        if self.how_it_ended is not None:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._waiting_end.append(waiter)
        return waiter

    def stop(self) -> "Deferred[None]":
        self.stopping = True
        return self.when_ended()

    def say(self, what: str, value: object = None) -> None:
        if what == STARTED:
            self.up = True
            waiting, self._waiting_up = self._waiting_up, []
            for waiter in waiting:
                waiter.callback(None)
        if what == DRAINING:
            self.draining = bool(value)
        self._heard(self, what, value)

    def end(self, how: str = "status 0") -> None:
        self.how_it_ended = how
        self._ended(self)
        for waiter in self._waiting_up:
            waiter.errback(Unavailable(f"process {self.number}", f"ended before it was up: {how}"))
        waiting, self._waiting_end = self._waiting_end, []
        for waiter in waiting:
            waiter.callback(None)


class FakeSpawning:
    """Spawns such processes; none while it is `full`."""

    def __init__(self, clock: Clock) -> None:
        self.processes: list[FakeProcess] = []
        self.full = False
        self._clock = clock

    def spawn(self, number: int, plan: Plan, sockets, heard, ended) -> FakeProcess:
        if self.full:
            raise Unavailable(f"process {number}", "cannot be started: Cannot allocate memory")
        process = FakeProcess(len(self.processes) + 1, number, plan, sockets, heard, ended, self._clock)
        self.processes.append(process)
        return process


class FakeNetwork:
    """Knows where is listened for HTTP."""

    def __init__(self) -> None:
        self.listening: list[object] = []

    def adopt(self, sockets, factory):
        self.listening.append(sockets[0])
        return FakePort(self, sockets[0])


class FakePort:
    def __init__(self, network: FakeNetwork, listened: object) -> None:
        self._network, self._listened = network, listened

    def stopListening(self) -> None:
        self._network.listening.remove(self._listened)


class SupervisorTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lines: list[tuple[str, dict[str, Fact]]] = []
        self.bound: dict[str, socket] = {}
        self.taken: set[str] = set()
        self.broken_file = ""
        self.released = 0
        self.network = FakeNetwork()
        self.spawning = FakeSpawning(self.clock)
        self.config = Path(self.mktemp())
        self.configure(2)
        self.supervisor = Supervisor(
            read_plan(self.config, {}),
            read_plan=lambda: read_plan(self.config, {}),
            check=self.check,
            release=self.release,
            sockets=Sockets(self.bind),
            network=self.network,
            spawning=self.spawning,
            journal=Journal(self.note),
            clock=self.clock,
        )
        self.supervisor.started.addErrback(lambda _: None)

    def note(self, level: Level, event: str, facts: dict[str, Fact]) -> None:
        self.lines.append((event, dict(facts)))

    def told(self, event: str) -> list[dict[str, Fact]]:
        return [facts for name, facts in self.lines if name == event]

    def configure(self, processes: int, smtp_port: int = 25, http_port: int = 9090) -> None:
        self.config.write_text(
            f"server: {{hostname: mx.test, processes: {processes}, smtp_addr: ':{smtp_port}',"
            f" http_addr: ':{http_port}'}}"
        )

    def check(self, settings: Settings) -> None:
        if self.broken_file:
            raise InvalidInput(self.broken_file, "is no certificate")

    def bind(self, address: str) -> list[socket]:
        if address in self.taken:
            raise InvalidInput(address, "cannot listen there: Address already in use")
        self.bound[address] = socket()
        self.addCleanup(self.bound[address].close)
        return [self.bound[address]]

    def open(self) -> set[str]:
        return {address for address, each in self.bound.items() if each.fileno() != -1}

    def release(self) -> None:
        self.released += 1

    def start(self) -> list[FakeProcess]:
        self.supervisor.startService()
        for process in self.spawning.processes:
            process.say(STARTED)
        return list(self.spawning.processes)

    def follow(self) -> None:
        """Let each process that was spawned come up, and each that is to stop end."""
        for process in list(self.spawning.processes):
            if not process.up and process.how_it_ended is None:
                process.say(STARTED)
        for process in list(self.spawning.processes):
            if process.stopping and process.how_it_ended is None:
                process.end()

    def living(self) -> list[int]:
        return [process.serial for process in self.spawning.processes if process.how_it_ended is None]

    def test_it_is_up_when_all_are(self) -> None:
        self.supervisor.startService()
        one, two = self.spawning.processes
        one.say(STARTED)
        self.assertEqual(self.told("service.started"), [])
        two.say(STARTED)
        self.assertEqual(len(self.told("service.started")), 1)
        self.assertEqual([process.number for process in (one, two)], [1, 2])
        self.assertEqual(set(one.sockets), {":25", ":587"})

    def test_one_that_does_not_come_up_at_the_first_start_ends_it(self) -> None:
        self.supervisor.startService()
        failed: list[object] = []
        self.supervisor.started.addBoth(failed.append)
        self.spawning.processes[1].end("status 1")
        self.assertEqual(len(failed), 1)
        self.assertEqual(self.told("service.started"), [])

    def test_a_system_without_room_at_the_first_start_ends_it(self) -> None:
        self.spawning.full = True
        failures: list[object] = []
        self.supervisor.started = Deferred()
        self.supervisor.started.addErrback(failures.append)
        self.supervisor.startService()
        self.assertEqual(len(failures), 1)

    def test_a_system_without_room_is_asked_again(self) -> None:
        one, _ = self.start()
        self.spawning.full = True
        one.end("signal 9")
        self.clock.pump([1, 2, 3])
        self.assertEqual([facts["again_seconds"] for facts in self.told("process.ended")], [1, 2, 4])
        self.spawning.full = False
        self.clock.advance(4)
        self.assertEqual(self.living(), [2, 3])

    def test_a_stop_is_one_of_all_beside_each_other(self) -> None:
        processes = self.start()
        stopping = self.supervisor.stopService()
        self.assertTrue(all(process.stopping for process in processes))
        self.assertNoResult(stopping)
        for process in processes:
            process.end()
        self.successResultOf(stopping)
        self.assertEqual((self.open(), self.network.listening, self.released), (set(), [], 1))
        self.clock.advance(60)
        self.assertEqual(self.living(), [])

    def test_a_reload_replaces_one_after_the_other(self) -> None:
        self.start()
        self.configure(2, smtp_port=26)
        self.supervisor.reload("SIGHUP")
        self.assertEqual(self.living(), [1, 2, 3])
        self.assertEqual(self.open(), {":25", ":26", ":587", ":9090"})
        self.follow()
        self.assertEqual(self.living(), [2, 3, 4])
        self.follow()
        self.assertEqual(self.living(), [3, 4])
        self.assertEqual(self.open(), {":26", ":587", ":9090"})
        self.assertEqual([facts["processes"] for facts in self.told("reload.done")], [2])

    def test_more_and_fewer_processes_and_another_place_for_http(self) -> None:
        self.start()
        self.configure(3, http_port=9091)
        self.supervisor.reload("SIGHUP")
        for _ in range(4):
            self.follow()
        self.assertEqual([process.number for process in self.spawning.processes[2:]], [1, 2, 3])
        self.assertEqual((self.open(), len(self.network.listening)), ({":25", ":587", ":9091"}, 1))
        self.configure(1, http_port=9091)
        self.supervisor.reload("SIGHUP")
        for _ in range(4):
            self.follow()
        self.assertEqual(len(self.living()), 1)
        self.assertEqual(len(self.told("reload.done")), 2)
        self.assertEqual(self.told("process.ended"), [])

    def test_what_is_wrong_changes_nothing_and_those_who_asked_hear_of_it(self) -> None:
        one, two = self.start()
        for wrong in ("text", "port", "file"):
            one.link.told.clear()
            if wrong == "text":
                self.config.write_text("server: {no")
            elif wrong == "port":
                self.configure(2, smtp_port=26)
                self.taken = {":26"}
            else:
                self.configure(2)
                self.broken_file = "cert.pem"
            two.say(RELOAD, f"token {wrong}")
            (reason,) = [value for what, value in one.link.told if what == REFUSED]
            self.assertEqual(reason[0], f"token {wrong}")
        self.assertEqual((self.living(), self.open()), ([1, 2], {":25", ":587", ":9090"}))
        self.assertEqual(len(self.told("reload.refused")), 3)
        one.end("signal 9")
        self.clock.advance(1)
        self.assertEqual(set(self.spawning.processes[-1].sockets), {":25", ":587"})

    def test_a_reload_whose_first_process_fails_changes_nothing(self) -> None:
        self.start()
        self.configure(2, smtp_port=26)
        self.supervisor.reload("SIGHUP")
        self.spawning.processes[-1].end("status 1")
        self.assertEqual((self.living(), self.open()), ([1, 2], {":25", ":587", ":9090"}))
        self.assertIn("ended before it was up: status 1", str(self.told("reload.refused")))

    def test_a_reload_whose_second_process_fails_leaves_each_its_own(self) -> None:
        self.start()
        self.configure(2, smtp_port=26)
        self.supervisor.reload("SIGHUP")
        self.follow()
        self.spawning.processes[-1].end("status 1")
        self.assertEqual(self.living(), [2, 3])
        self.assertEqual(self.open(), {":25", ":26", ":587", ":9090"})
        for process in self.spawning.processes[1:3]:
            process.end("signal 9")
        self.clock.advance(1)
        self.assertEqual(
            [set(each.sockets) for each in self.spawning.processes[-2:]], [{":25", ":587"}, {":26", ":587"}]
        )

    def test_all_that_ask_meanwhile_get_one_more_reload_together(self) -> None:
        processes = self.start()
        self.supervisor.reload("SIGHUP")
        for _ in range(5):
            self.supervisor.reload("SIGHUP")
            for process in processes:
                process.say(RELOAD, "one token")
        for _ in range(8):
            self.follow()
        self.assertEqual([facts["by"] for facts in self.told("reload.begun")], ["SIGHUP", "SIGHUP, mtactl"])
        self.spawning.processes[-1].say(RELOAD, "one token")
        self.assertEqual(len(self.told("reload.begun")), 2)

    def test_a_reload_that_comes_before_all_are_up_waits_for_that(self) -> None:
        self.supervisor.startService()
        self.supervisor.reload("SIGHUP")
        self.assertEqual(len(self.spawning.processes), 2)
        self.follow()
        self.assertEqual(len(self.told("reload.begun")), 1)
        self.assertEqual(len(self.spawning.processes), 3)

    def test_a_stop_amidst_a_reload_starts_nobody_more(self) -> None:
        self.start()
        self.supervisor.reload("SIGHUP")
        stopping = self.supervisor.stopService()
        for _ in range(3):
            self.follow()
        self.successResultOf(stopping)
        self.assertEqual((self.living(), len(self.spawning.processes)), ([], 3))

    def test_those_that_drain_refuse_only_when_there_is_nobody_else(self) -> None:
        one, two = self.start()
        one.say(DRAINING, True)
        self.assertEqual((one.link.told[-1], two.link.told[-1]), ((REFUSE, False), (REFUSE, False)))
        two.say(DRAINING, True)
        self.assertEqual((one.link.told[-1], two.link.told[-1]), ((REFUSE, True), (REFUSE, True)))
        two.end("signal 9")
        self.assertEqual(one.link.told[-1], (REFUSE, True))
        self.clock.advance(1)
        self.spawning.processes[-1].say(STARTED)
        self.assertEqual(one.link.told[-1], (REFUSE, False))

    def test_what_a_process_says_at_its_end_is_kept(self) -> None:
        one, _ = self.start()
        family = {
            "name": "surprises", "kind": "counter", "help": "Errors.",
            "samples": [{"name": "surprises_total", "labels": [], "value": 7.0}],
        }  # fmt: skip
        one.say(LAST, [family])
        one.end("signal 9")
        found = {family.name: family for family in self.supervisor._totals.families()}
        self.assertEqual(found["surprises"].samples[0].value, 7)
