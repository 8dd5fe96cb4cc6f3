"""The supervisor's parts that decide: pauses, sums, readiness, slots; and the link, however its frames are cut."""

import math
from pathlib import Path
from socket import socket, socketpair

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.errors import InvalidInput, Unavailable
from mtad.model.journal import OTHER
from mtad.model.process import Part
from mtad.model.samples import Family, Sample
from mtad.processes.backoff import Backoff
from mtad.processes.link import Link, first_told
from mtad.processes.plan import Plan, how_many, read_plan
from mtad.processes.readiness import Silent, together
from mtad.processes.slot import Slot
from mtad.processes.sockets import Sockets
from mtad.processes.totals import Totals
from mtad.testing.journal import MemoryJournal


class BackoffTest(SynchronousTestCase):
    def test_it_doubles_up_to_half_a_minute(self) -> None:
        backoff = Backoff()
        self.assertEqual([backoff.after(0.1) for _ in range(7)], [1, 2, 4, 8, 16, 30, 30])

    def test_a_life_of_a_minute_makes_up_for_all(self) -> None:
        backoff = Backoff()
        pauses = [backoff.after(lived) for lived in (0, 0, 59.9, 60, 1, 3600)]
        self.assertEqual(pauses, [1, 2, 4, 1, 2, 1])


class ShareTest(SynchronousTestCase):
    def test_shares_make_up_the_whole_and_nobody_has_none(self) -> None:
        self.assertEqual([Part(1, count).share(10) for count in (1, 2, 3, 10, 64)], [10, 5, 4, 1, 1])


def counter(value: float, **labels: str) -> Family:
    return Family("surprises", "counter", "Errors.", (Sample("surprises_total", tuple(sorted(labels.items())), value),))


def gauge(name: str, value: float) -> Family:
    return Family(name, "gauge", "Now.", (Sample(name, (), value),))


def durations(domain: str, count: float) -> Family:
    labels = (("domain", domain), ("type", "remote"))
    name = "smtp_delivery_duration_seconds"
    return Family(name, "histogram", "Long.", (Sample(f"{name}_count", labels, count),))


class TotalsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.totals = Totals(max_domains=2)

    def sums(self) -> dict[str, float]:
        return {
            ",".join((sample.name, *(value for _, value in sample.labels))): sample.value
            for family in self.totals.families()
            for sample in family.samples
        }

    def test_counters_are_added_up(self) -> None:
        self.totals.keep(1, [counter(3)])
        self.totals.keep(2, [counter(4)])
        self.totals.keep(1, [counter(5)])
        self.assertEqual(self.sums(), {"surprises_total": 9})

    def test_series_of_some_processes_only_are_there(self) -> None:
        self.totals.keep(1, [counter(3, kind="a")])
        self.totals.keep(2, [counter(4, kind="b")])
        self.assertEqual(self.sums(), {"surprises_total,a": 3, "surprises_total,b": 4})

    def test_what_a_process_counted_outlives_it_and_its_gauges_do_not(self) -> None:
        self.totals.keep(1, [counter(3), gauge("queue_in_memory_jobs", 7)])
        self.totals.keep(2, [counter(4), gauge("queue_in_memory_jobs", 1)])
        self.totals.end(1)
        self.totals.end(9)
        self.assertEqual(self.sums(), {"surprises_total": 7, "queue_in_memory_jobs": 1})
        self.totals.keep(3, [counter(1)])
        self.totals.end(2)
        self.assertEqual(self.sums(), {"surprises_total": 8})

    def test_gauges_make_one_as_the_table_says(self) -> None:
        for process, value in ((1, 5.0), (2, 9.0), (3, math.inf)):
            names = (
                "smtp_queue_size",
                "node_lease_seconds",
                "tls_certificate_expiry_seconds",
                "smtp_connections_active",
            )
            self.totals.keep(process, [gauge(name, value) for name in names])
        self.assertEqual(
            self.sums(),
            {
                "smtp_queue_size": math.inf,
                "node_lease_seconds": 5,
                "tls_certificate_expiry_seconds": 5,
                "smtp_connections_active": math.inf,
            },
        )

    def test_domains_are_bounded_over_all_processes_that_ever_were(self) -> None:
        for process in range(20):
            self.totals.keep(process, [durations(f"{process}.example", 1)])
            self.sums()
            self.totals.end(process)
        name = "smtp_delivery_duration_seconds_count"
        self.assertEqual(
            self.sums(), {f"{name},0.example,remote": 1, f"{name},1.example,remote": 1, f"{name},{OTHER},remote": 18}
        )

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.just("count"), st.integers(0, 3), st.integers(0, 5)),
                st.tuples(st.just("end"), st.integers(0, 3), st.just(0)),
            ),
            max_size=40,
        )
    )
    def test_counters_never_go_back(self, happenings: list[tuple[str, int, int]]) -> None:
        totals = Totals(max_domains=1)
        serials, counts = dict(zip(range(4), range(4), strict=True)), dict.fromkeys(range(4), 0)
        before: dict[tuple[str, object], float] = {}
        for what, number, amount in happenings:
            if what == "count":
                counts[number] += amount
                totals.keep(serials[number], [counter(counts[number]), durations("a.example", counts[number])])
            else:
                totals.end(serials[number])
                serials[number], counts[number] = max(serials.values()) + 1, 0
            now = {(sample.name, sample.labels): sample.value for each in totals.families() for sample in each.samples}
            for key, value in before.items():
                self.assertGreaterEqual(now[key], value)
            before = now


def page(ready: bool = True, **dependencies: str) -> dict[str, object]:
    return {"ready": ready, "stopping": False, "draining": False, "dependencies": {"postgres": "ok", **dependencies}}


class ReadinessTest(SynchronousTestCase):
    def test_one_that_is_ready_is_enough(self) -> None:
        told = {1: page(), 2: Silent("starting"), 3: page(ready=False)}
        found = together(told, stopping=False)
        self.assertTrue(found.ready)
        self.assertEqual(found.told["processes"]["2"], {"ready": False, "reason": "starting"})

    def test_none_that_is_ready_is_not(self) -> None:
        for told in ({}, {1: Silent("starting")}, {1: page(ready=False), 2: Silent("ended")}):
            self.assertFalse(together(told, stopping=False).ready, told)

    def test_what_one_lacks_is_named_and_counts_for_all(self) -> None:
        found = together({1: page(), 2: page(ready=False, redis="connection refused")}, stopping=False)
        self.assertFalse(found.ready)
        self.assertEqual(found.told["processes"]["2"]["dependencies"]["redis"], "connection refused")

    def test_a_server_that_stops_is_not_ready(self) -> None:
        found = together({1: page()}, stopping=True)
        self.assertEqual((found.ready, found.told["stopping"]), (False, True))


class SocketsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.bound: dict[str, socket] = {}
        self.sockets = Sockets(self.bind)
        self.addCleanup(self.sockets.close)

    def bind(self, address: str) -> list[socket]:
        if address == "taken":
            raise InvalidInput(address, "in use")
        self.assertNotIn(address, self.bound)
        self.bound[address] = socket()
        return [self.bound[address]]

    def open(self) -> set[str]:
        return {address for address, each in self.bound.items() if each.fileno() != -1}

    def test_each_is_bound_once_and_closed_when_it_is_not_kept(self) -> None:
        self.sockets.hold(["a", "b"])
        self.sockets.hold(["b", "c"])
        self.assertEqual(self.open(), {"a", "b", "c"})
        self.sockets.keep(["b", "d"])
        self.assertEqual(self.open(), {"b"})
        self.assertEqual(self.sockets.at(["b"]), {"b": [self.bound["b"]]})
        self.sockets.close()
        self.assertEqual(self.open(), set())

    def test_when_one_cannot_be_bound_all_is_as_before(self) -> None:
        self.sockets.hold(["a"])
        self.assertRaises(InvalidInput, self.sockets.hold, ["b", "taken", "c"])
        self.assertEqual(self.open(), {"a"})


class PlanTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text("server: {hostname: mx.test, processes: 3}\n")

    def test_a_plan_keeps_what_the_file_said(self) -> None:
        plan = read_plan(self.path, {})
        self.path.write_text("server: {no")
        self.assertIn(b"processes: 3", plan.octets)
        self.assertEqual((plan.count, plan.config.is_absolute()), (3, True))
        self.assertEqual(plan.addresses, (":25", ":587"))
        self.assertRaises(InvalidInput, read_plan, self.path, {})

    def test_auto_is_as_many_as_there_are_cpus_for(self) -> None:
        self.path.write_text("server: {hostname: mx.test, processes: auto}\n")
        self.patch(how_many.__globals__["os"], "sched_getaffinity", lambda _: {0, 5, 7})
        self.assertEqual(read_plan(self.path, {}).count, 3)
        self.path.write_text("server: {hostname: mx.test}\n")
        self.assertEqual(read_plan(self.path, {}).count, 1)

    def test_what_is_no_number_of_processes(self) -> None:
        for value in ("0", "-1", "257", "many", "true", "1.5", "[1]"):
            self.path.write_text(f"server: {{hostname: mx.test, processes: {value}}}\n")
            wrong = self.assertRaises(InvalidInput, read_plan, self.path, {})
            self.assertIn("server.processes: expected auto, or a number from 1 to 256, got ", str(wrong))

    def test_a_port_for_the_system_to_choose_cannot_be_shared(self) -> None:
        self.path.write_text('server: {hostname: mx.test, processes: 1, smtp_addr: ":0"}\n')
        self.assertRaises(InvalidInput, read_plan, self.path, {})


class Spawned:
    """A process in the hands of a test."""

    def __init__(self, number: int, plan: Plan, clock: Clock) -> None:
        self.number, self.plan, self.pid = number, plan, 4000
        self.how_it_ended: str | None = None
        self.stopped = False
        self._clock = clock
        self._begun_at = clock.seconds()
        self._waiting: list[Deferred[None]] = []
        self._ended: Deferred[None] = Deferred()

    @property
    def lived_seconds(self) -> float:
        return self._clock.seconds() - self._begun_at

    def when_up(self) -> "Deferred[None]":
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        return waiter

    def when_ended(self) -> "Deferred[None]":
        waiter: Deferred[None] = Deferred()
        self._ended.addCallback(lambda _: waiter.callback(None))
        return waiter

    def stop(self) -> "Deferred[None]":
        self.stopped = True
        return self.when_ended()

    def come_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def end(self, how: str = "signal 9") -> None:
        self.how_it_ended = how
        for waiter in self._waiting:
            waiter.errback(Unavailable("process 1", f"ended before it was up: {how}"))
        self._ended.callback(None)


class SlotTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.journal = MemoryJournal()
        self.spawned: list[Spawned] = []
        path = Path(self.mktemp())
        path.write_text("server: {hostname: mx.test, processes: 1}\n")
        self.plan, self.next_plan = read_plan(path, {}), read_plan(path, {})
        self.slot = Slot(1, self.plan, self.spawn, self.clock, self.journal)

    def spawn(self, number: int, plan: Plan) -> Spawned:
        self.spawned.append(Spawned(number, plan, self.clock))
        return self.spawned[-1]

    def start(self) -> Spawned:
        self.slot.start()
        self.spawned[0].come_up()
        return self.spawned[0]

    def replace(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.slot.replace(self.next_plan))

    def test_a_process_that_ends_is_started_again_after_a_pause(self) -> None:
        self.start()
        for pause in (1, 2, 4):
            self.spawned[-1].end()
            self.assertIsNone(self.slot.running)
            self.clock.advance(pause - 0.1)
            before = len(self.spawned)
            self.clock.advance(0.2)
            self.assertEqual(len(self.spawned), before + 1)
        told = self.journal.of("process.ended")
        self.assertEqual([facts["again_seconds"] for facts in told], [1, 2, 4])
        self.assertEqual({facts["how"] for facts in told}, {"signal 9"})

    def test_one_that_never_came_up_is_started_again_too(self) -> None:
        up = self.slot.start().when_up()
        self.spawned[0].end("status 1")
        self.failureResultOf(up, Unavailable)
        self.clock.advance(1)
        self.assertEqual(len(self.spawned), 2)

    def test_the_successor_is_up_before_the_old_one_stops(self) -> None:
        old = self.start()
        replacing = self.replace()
        new = self.spawned[-1]
        self.assertIs(new.plan, self.next_plan)
        self.clock.advance(30)
        self.assertFalse(old.stopped)
        self.assertIs(self.slot.running, old)
        new.come_up()
        self.assertTrue(old.stopped)
        self.assertIs(self.slot.running, new)
        self.assertNoResult(replacing)
        old.end("status 0")
        self.successResultOf(replacing)
        self.assertEqual(self.journal.of("process.ended"), [])

    def test_a_successor_that_does_not_come_up_changes_nothing(self) -> None:
        old = self.start()
        replacing = self.replace()
        self.spawned[-1].end("status 1")
        self.failureResultOf(replacing, Unavailable)
        self.assertIs(self.slot.running, old)
        self.assertFalse(old.stopped)
        old.end()
        self.clock.advance(1)
        self.assertIs(self.spawned[-1].plan, self.plan)

    def test_a_successor_that_hangs_is_stopped_after_two_minutes(self) -> None:
        old = self.start()
        replacing = self.replace()
        new = self.spawned[-1]
        self.clock.advance(121)
        self.assertTrue(new.stopped)
        new.end()
        self.failureResultOf(replacing, Unavailable)
        self.assertFalse(old.stopped)

    def test_an_old_one_that_dies_meanwhile_is_not_started_beside_its_successor(self) -> None:
        old = self.start()
        replacing = self.replace()
        new = self.spawned[-1]
        old.end()
        new.come_up()
        self.successResultOf(replacing)
        self.clock.advance(60)
        self.assertEqual(self.spawned, [old, new])

    def test_one_in_its_pause_is_replaced_at_once_and_rests_on_when_that_fails(self) -> None:
        self.start().end()
        replacing = self.replace()
        self.clock.advance(10)
        self.assertEqual(len(self.spawned), 2)
        self.spawned[-1].end("status 1")
        self.failureResultOf(replacing, Unavailable)
        self.clock.advance(1)
        self.assertEqual([each.plan for each in self.spawned], [self.plan, self.next_plan, self.plan])

    def test_a_new_slot_that_fails_leaves_nothing_behind(self) -> None:
        replacing = self.replace()
        self.spawned[-1].end("status 1")
        self.failureResultOf(replacing, Unavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_after_the_close_nothing_is_started(self) -> None:
        self.start()
        stopping = Deferred.fromCoroutine(self.slot.stop())
        self.spawned[0].end("status 0")
        self.successResultOf(stopping)
        self.clock.advance(60)
        self.assertEqual(len(self.spawned), 1)


class LinkTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.heard: list[tuple[str, object]] = []
        self.lost = 0
        self.near, self.far = StringTransport(), StringTransport()
        self.supervisor = Link(heard=lambda *news: self.heard.append(news), lost=self.lose)
        self.process = Link(heard=lambda *news: self.heard.append(news), lost=self.lose, answer=self.answer)
        self.supervisor.makeConnection(self.near)
        self.process.makeConnection(self.far)

    def lose(self) -> None:
        self.lost += 1

    def answer(self, what: str) -> "Deferred[object]":
        return succeed({"asked": what, "at": math.inf}) if what == "ready" else fail(ValueError("unknown"))

    def turn(self, octets: int = 1) -> None:
        """Carry what was sent, a few octets at a time."""
        while self.near.value() or self.far.value():
            for transport, other in ((self.near, self.process), (self.far, self.supervisor)):
                sent = transport.value()
                transport.clear()
                for begin in range(0, len(sent), octets):
                    other.dataReceived(sent[begin : begin + octets])

    def test_news_goes_both_ways_in_order(self) -> None:
        self.supervisor.tell("refuse", True)
        self.supervisor.tell("refused", ["t", "why"])
        self.turn()
        self.process.tell("started")
        self.turn()
        self.assertEqual(self.heard, [("refuse", True), ("refused", ["t", "why"]), ("started", None)])

    def test_questions_are_answered_each_its_own(self) -> None:
        first, second = self.supervisor.ask("ready"), self.supervisor.ask("nonsense")
        self.turn(3)
        self.assertEqual(self.successResultOf(first), {"asked": "ready", "at": math.inf})
        self.assertIn("unknown", str(self.failureResultOf(second, Unavailable).value))

    def test_what_is_not_answered_fails_at_the_end(self) -> None:
        asked = self.supervisor.ask("ready")
        self.supervisor.connectionLost()
        self.failureResultOf(asked, Unavailable)
        self.failureResultOf(self.supervisor.ask("ready"), Unavailable)
        self.supervisor.tell("refuse", True)
        self.assertEqual(self.lost, 1)

    def test_what_is_no_frame_ends_the_link(self) -> None:
        for octets in (b"\0\0\0\1\xc1", b"\0\0\0\1\x01", b"\xff\xff\xff\xff"):
            transport = StringTransport()
            link = Link(heard=lambda *_: None, lost=lambda: None)
            link.makeConnection(transport)
            link.dataReceived(octets)
            self.assertTrue(transport.disconnecting, octets)

    def test_the_first_is_read_without_a_reactor_and_the_rest_is_left(self) -> None:
        ours, theirs = socketpair()
        with ours, theirs:
            self.supervisor.tell("orders", {"octets": b"\0" * 100_000})
            self.supervisor.tell("refuse", True)
            sent = self.near.value()
            theirs.sendall(sent)
            self.assertEqual(first_told(ours), {"octets": b"\0" * 100_000})
            self.assertEqual(ours.recv(100), sent[4 + int.from_bytes(sent[:4]) :])
            theirs.close()
            self.assertRaises(EOFError, first_told, ours)
