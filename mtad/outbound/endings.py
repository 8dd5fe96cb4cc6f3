"""How an attempt ends for recipients about whom no server decided: connections that are lost, ours that we give up.

All of it is temporary. What the server did decide is `mtad.smtp.answers`' to say.
"""

from collections.abc import Sequence
from dataclasses import replace

from mtad.model.outcome import Deferred, Outcome, Scope
from mtad.smtp.answers import CLOSING, Answer, Step, outcome_of


def lost(why: str, status: str = "4.4.2") -> Deferred:
    """Return how it ends with a connection that is over, through the server's fault or for want of it."""
    return Deferred(why, Scope.HOST, status)


def stopped() -> Deferred:
    """Return how a message ends that this server had no time left for."""
    return Deferred("this server was stopped meanwhile", Scope.OURS, "4.3.0")


def not_ours() -> Deferred:
    """Return how a message ends that this server may not send any more."""
    return Deferred("this server's lease ran out before the message was sent", Scope.OURS, "4.3.0")


def outcomes(answers: Sequence[Answer | None], ending: Deferred | None, *, sent_whole: bool) -> list[Outcome]:
    """Return one outcome a recipient: by its answer, or the `ending` where there is none.

    A message that was `sent_whole` may have been taken: it does not go to another host at once, and that is told.
    """
    if ending is not None and sent_whole:
        detail = f"{ending.detail}; the message was sent whole and may arrive twice"
        ending = replace(ending, scope=Scope.MESSAGE, detail=detail)
    found: list[Outcome] = []
    for answer in answers:
        outcome = outcome_of(answer) if answer else ending
        assert outcome is not None, "the conversation finishes with an answer for everybody"
        found.append(outcome)
    return found


def is_farewell(answers: Sequence[Answer | None]) -> bool:
    """Return whether a server's only words were that it closes, as after a time of silence."""
    return all(
        answer is not None and answer.reply.code == CLOSING and answer.step in (Step.RSET, Step.MAIL)
        for answer in answers
    )
