"""mtad.inbound.failures and gate: what this process keeps for itself is bounded, and ends."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.inbound import failures as failures_module
from mtad.inbound import gate as gate_module
from mtad.inbound.credentials import Busy, Paused, Refused, Visitor
from mtad.inbound.failures import Attempt, Failures
from mtad.inbound.gate import Gate
from mtad.model.tenant import Submitter
from mtad.policy.login import WINDOW_SECONDS, LoginFacts
from mtad.testing.counters import MemoryCounters
from mtad.testing.journal import MemoryJournal

HOME = Attempt("ann@acme.example", "192.0.2.7")


class FailuresTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.counters = MemoryCounters(self.clock)
        self.failures = Failures(counters=self.counters, clock=self.clock, journal=MemoryJournal())

    def facts(self, attempt: Attempt = HOME) -> LoginFacts:
        return self.successResultOf(Deferred.fromCoroutine(self.failures.facts(attempt)))

    def fail(self, attempt: Attempt = HOME) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.failures.failed(attempt)))

    def succeed(self, attempt: Attempt = HOME) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.failures.succeeded(attempt, self.facts(attempt))))

    def test_what_is_counted_with_and_without_the_shared_counts(self) -> None:
        for reachable in (True, False):
            self.setUp()
            self.counters.reachable = reachable
            self.fail()
            self.fail(Attempt("bob@acme.example", HOME.place))
            self.fail(Attempt(HOME.account, "192.0.2.8"))
            self.assertEqual(self.facts(), LoginFacts(of_pair=1, of_place=2, of_account=2))
            self.succeed()
            self.assertEqual(self.facts(), LoginFacts(of_pair=0, of_place=2, of_account=2, known=True))
            self.assertFalse(self.facts(Attempt(HOME.account, "192.0.2.8")).known)
            self.clock.advance(WINDOW_SECONDS)
            self.assertEqual(self.facts(), LoginFacts(known=True))

    def test_a_plain_success_costs_one_trip(self) -> None:
        self.succeed()
        self.counters.asked = 0
        self.succeed()
        self.assertEqual(self.counters.asked, 1)

    def test_what_is_kept_is_bounded_and_the_oldest_goes(self) -> None:
        self.patch(failures_module, "MAX_KEPT", 6)
        self.counters.reachable = False
        self.fail(HOME)
        for number in range(10):
            self.fail(Attempt(f"user{number}", f"place{number}"))
            self.assertLessEqual(len(self.failures._own), 6)
        self.assertEqual(self.facts(), LoginFacts())
        self.assertEqual(self.facts(Attempt("user9", "place9")), LoginFacts(1, 1, 1))

    def test_names_of_peers_are_no_keys(self) -> None:
        for key in (*HOME.failures, HOME.home):
            self.assertRegex(key, "^login:[a-z]+:[0-9a-f]{32}$")
        self.assertNotEqual(Attempt("a", "bc").home, Attempt("ab", "c").home)


class GateTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.failures = Failures(counters=MemoryCounters(self.clock), clock=self.clock, journal=MemoryJournal())
        self.gate = Gate(failures=self.failures, clock=self.clock)
        self.tried = 0

    async def refuse(self) -> Submitter:
        self.tried += 1
        raise Refused("wrong password")

    def knock(self, visitor: Visitor) -> "Deferred[Submitter]":
        return Deferred.fromCoroutine(self.gate.through(visitor, "ann@acme.example", self.refuse))

    def test_only_so_many_wait_in_all(self) -> None:
        self.patch(gate_module, "MAX_WAITING", 2)
        hosts = [f"192.0.2.{number}" for number in range(3)]
        for host in hosts:
            for _ in range(5):
                self.failureResultOf(self.knock(Visitor(host)), Refused)
        waiting = [self.knock(Visitor(host)) for host in hosts]
        self.failureResultOf(waiting[2], Paused)
        self.clock.advance(1.0)
        for one in waiting[:2]:
            self.failureResultOf(one, Refused)
        self.assertNoResult(self.knock(Visitor(hosts[2])))

    def test_who_is_gone_is_not_tried_and_makes_room(self) -> None:
        for _ in range(5):
            self.failureResultOf(self.knock(Visitor("192.0.2.7")), Refused)
        visitors = [Visitor("192.0.2.7") for _ in range(10)]
        waiting = [self.knock(visitor) for visitor in visitors]
        self.failureResultOf(self.knock(Visitor("192.0.2.7")), Paused)
        for visitor, one in zip(visitors, waiting, strict=True):
            visitor.withdraw()
            self.failureResultOf(one, Busy)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.tried, 5)
        late = self.knock(Visitor("192.0.2.7"))
        self.assertNoResult(late)
        self.clock.advance(1.0)
        self.failureResultOf(late, Refused)
        self.failureResultOf(self.knock(visitors[0]), Busy)
