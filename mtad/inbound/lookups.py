"""Runs an algorithm over what is known of the DNS until nothing is missing (DESIGN D10).

A run that lacks answers is thrown away; what it lacked is resolved, all at once, and it runs again. That ends: after
MAX_ROUNDS, or when the time is over, whatever is still missing counts as a timeout, which is an answer like any other.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime

from mtad.interfaces import IResolver
from mtad.model.answer import Answer, Question, Status
from mtad.verification.facts import Facts, NotYetKnown

T = TypeVar("T")

MAX_ROUNDS = 50
MAX_QUESTIONS = 200
PATIENCE_SECONDS = 30.0


class Lookups:
    """The answers one message needs; they stay the same for all that is found out about it.

    `used` are the answers that mattered, each once.
    """

    def __init__(self, resolver: IResolver, clock: IReactorTime, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.used: dict[Question, Answer] = {}
        self._resolver = resolver
        self._clock = clock
        self._ends_at = clock.seconds() + patience_seconds
        self._answers: dict[Question, Answer] = {}

    async def run(self, algorithm: Callable[[Facts], T]) -> T:
        """Return the result of `algorithm` over all the answers it wants."""
        for _ in range(MAX_ROUNDS):
            facts = Facts(self._known)
            result = self._tried(algorithm, facts)
            if result is not None:
                return result[0]
            await self._resolve(facts.missing)
        facts = Facts(lambda question: self._known(question) or _late(question))
        result = self._tried(algorithm, facts)
        assert result is not None, "with an answer to everything nothing is missing"
        return result[0]

    def _tried(self, algorithm: Callable[[Facts], T], facts: Facts) -> tuple[T] | None:
        try:
            result = algorithm(facts)
        except NotYetKnown:
            return None
        if facts.missing:
            return None
        self.used.update(facts.used)
        return (result,)

    def _known(self, question: Question) -> Answer | None:
        answer = self._answers.get(question)
        if answer is None:
            answer = self._resolver.known(question)
            if answer is not None:
                self._answers[question] = answer
        return answer

    async def _resolve(self, questions: Iterable[Question]) -> None:
        left_seconds = self._ends_at - self._clock.seconds()
        wanted = list(questions)
        room = max(0, MAX_QUESTIONS - len(self._answers)) if left_seconds > 0 else 0
        for question in wanted[room:]:
            self._answers[question] = _late(question)
        asked = [self._asked(question, left_seconds) for question in wanted[:room]]
        for answer in await gatherResults(asked, consumeErrors=True):
            self._answers[answer.question] = answer

    def _asked(self, question: Question, left_seconds: float) -> Deferred[Answer]:
        asked = Deferred.fromCoroutine(self._resolver.resolve(question))
        return asked.addTimeout(left_seconds, self._clock, lambda _failure, _seconds: _late(question))


def _late(question: Question) -> Answer:
    return Answer(question, Status.TIMEOUT, canonical=question.name, detail="no answer in time")
