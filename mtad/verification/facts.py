"""What is known of the DNS while a message is verified: algorithms ask here, and never wait (DESIGN D10).

    facts = Facts(answers)
    result = check(facts, ...)          raises NotYetKnown at the first answer that is missing
    facts.missing                       what to resolve before the next run; a run with any is thrown away

A library may swallow the exception; so what counts is `missing`, not whether it was raised.
"""

from collections.abc import Mapping

from mtad.model.answer import Answer, Question
from mtad.model.errors import MtadError


class NotYetKnown(MtadError):
    """An answer is missing; the question is in `Facts.missing`."""


class Facts:
    """Answers by question. `used` are those that were looked at, in the order of the first look."""

    def __init__(self, answers: Mapping[Question, Answer]) -> None:
        self._answers = answers
        self.missing: list[Question] = []
        self.used: dict[Question, Answer] = {}

    def lookup(self, question: Question) -> Answer:
        """Return an answer; NotYetKnown, and the question is noted, when it is not there."""
        answer = self._answers.get(question)
        if answer is None:
            if question not in self.missing:
                self.missing.append(question)
            raise NotYetKnown(f"{question} is not known yet")
        self.used[question] = answer
        return answer
