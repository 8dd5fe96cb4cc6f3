"""What is known of the DNS while a message is verified: algorithms ask here, and never wait (DESIGN D10).

    facts = Facts(known)
    result = check(facts, ...)          raises NotYetKnown at the first answer that is missing
    facts.missing                       what to resolve before the next run; a run with any is thrown away

A library may swallow the exception; so what counts is `missing`, not whether it was raised.
"""

from collections.abc import Callable, Iterable

from mtad.model.answer import Answer, Question
from mtad.model.errors import MtadError


class NotYetKnown(MtadError):
    """An answer is missing; the question is in `Facts.missing`."""


class Facts:
    """Answers by question: `known` gives those that are there. `used` are those that were looked at, in order."""

    def __init__(self, known: Callable[[Question], Answer | None]) -> None:
        self._known = known
        self.missing: dict[Question, None] = {}
        self.used: dict[Question, Answer] = {}

    def lookup(self, question: Question) -> Answer:
        """Return an answer; NotYetKnown, and the question is noted, when it is not there."""
        answer = self.used.get(question) or self._known(question)
        if answer is None:
            self.missing[question] = None
            raise NotYetKnown(f"{question} is not known yet")
        self.used[question] = answer
        return answer

    def want(self, questions: Iterable[Question]) -> None:
        """Note which of these are not there: they will be asked for, whatever the run looks at itself."""
        for question in questions:
            if question not in self.used and self._known(question) is None:
                self.missing[question] = None
