"""An algorithm runs again and again until it lacks nothing, and always ends."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.inbound.lookups import MAX_QUESTIONS, MAX_ROUNDS, PATIENCE_SECONDS, Lookups
from mtad.model.answer import Answer, Kind, Question, Status
from mtad.testing.resolver import MemoryResolver
from mtad.verification.facts import Facts, NotYetKnown


def question(name: str) -> Question:
    return Question(name, Kind.TXT)


class LookupsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.resolver = MemoryResolver(self.clock, {"a.example": ["TXT one"], "b.example": ["TXT two"]})
        self.lookups = Lookups(self.resolver, self.clock)

    def test_what_is_missing_is_asked_at_once_and_once(self) -> None:
        runs = 0

        def both(facts: Facts) -> list[Answer]:
            nonlocal runs
            runs += 1
            wanted = [question("a.example"), question("b.example")]
            facts.want(wanted)
            return [facts.lookup(each) for each in wanted]

        self.resolver.delay_seconds = 1.0
        running = Deferred.fromCoroutine(self.lookups.run(both))
        self.clock.advance(1.0)
        answers = self.successResultOf(running)
        self.assertEqual([answer.texts for answer in answers], [(b"one",), (b"two",)])
        self.assertEqual(runs, 2)
        self.successResultOf(Deferred.fromCoroutine(self.lookups.run(both)))
        self.assertEqual(len(self.resolver.asked), 2)
        self.assertEqual(list(self.lookups.used), [question("a.example"), question("b.example")])

    def test_an_exception_that_is_swallowed_counts(self) -> None:
        def swallows(facts: Facts) -> str:
            try:
                return facts.lookup(question("a.example")).texts[0].decode()
            except NotYetKnown:
                return "nothing"

        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.lookups.run(swallows))), "one")

    def test_what_is_late_is_a_timeout(self) -> None:
        self.resolver.delay_seconds = 2 * PATIENCE_SECONDS
        running = Deferred.fromCoroutine(self.lookups.run(lambda facts: facts.lookup(question("a.example"))))
        self.assertNoResult(running)
        self.clock.advance(PATIENCE_SECONDS)
        self.assertEqual(self.successResultOf(running).status, Status.TIMEOUT)

    def test_it_ends_whatever_is_wanted(self) -> None:
        wanted = 0

        def insatiable(facts: Facts) -> int:
            nonlocal wanted
            for number in range(wanted):
                facts.lookup(question(f"{number}.example"))
            if not wanted or facts.lookup(question(f"{wanted}.example")).status is not Status.TIMEOUT:
                wanted += 1
                facts.lookup(question(f"{wanted}.example"))
            return wanted

        self.successResultOf(Deferred.fromCoroutine(self.lookups.run(insatiable)))
        self.assertLessEqual(wanted, MAX_ROUNDS + 1)
        many = [question(f"x{number}.example") for number in range(2 * MAX_QUESTIONS)]

        def greedy(facts: Facts) -> int:
            facts.want(many)
            return sum(facts.lookup(each).temporary for each in many)

        self.successResultOf(Deferred.fromCoroutine(self.lookups.run(greedy)))
        self.assertLessEqual(len(self.resolver.asked), MAX_QUESTIONS)
