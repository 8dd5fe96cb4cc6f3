"""What becomes of a job's rows after an attempt: gone, tried again, or held (pure).

A recipient that is out of tries, out of time or finally refused is held, with the reason in its timeline: nothing that
was acknowledged leaves the queue unserved on its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mtad.model import event
from mtad.model.event import Event, Fact
from mtad.model.job import Disposal, Job, Result, Settlement, Target
from mtad.model.outcome import Deferred, Delivered, Failed, Outcome
from mtad.scheduling.retry import given_up, next_due


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a recipient is tried again, and how often at most."""

    retry_delay_seconds: float
    max_retry_delay_seconds: float
    max_retries: int


def settle(
    job: Job, outcomes: Sequence[Outcome], now: float, schedule: Schedule, chance: Callable[[], float]
) -> Settlement:
    """Return what to write; `outcomes` in the order of the job's targets, `chance` draws from [0, 1)."""
    results = []
    events = []
    for target, outcome in zip(job.targets, outcomes, strict=True):
        result, happened = _settle_one(target, outcome, now, schedule, chance)
        results.append(result)
        events.append(happened)
    return Settlement(job.message, job.organisation, job.total, job.copies, tuple(results), tuple(events))


def _settle_one(
    target: Target, outcome: Outcome, now: float, schedule: Schedule, chance: Callable[[], float]
) -> tuple[Result, Event]:
    def result(disposal: Disposal, due: float = 0.0) -> Result:
        return Result(target.recipient.n, target.claim, outcome, disposal, due)

    facts: dict[str, Fact] = {
        "recipient": str(target.recipient.address),
        "attempt": target.attempts + 1,
        "status": outcome.status,
        "detail": outcome.detail,
    }
    match outcome:
        case Delivered():
            return result(Disposal.GONE), Event(event.DELIVERED, now, facts)
        case Failed():
            return result(Disposal.HELD), Event(event.HELD, now, facts | {"reason": "the next hop refused it for good"})
        case Deferred():
            due = next_due(
                attempts=target.attempts,
                now=now,
                retry_delay_seconds=schedule.retry_delay_seconds,
                max_retry_delay_seconds=schedule.max_retry_delay_seconds,
                chance=chance(),
            )
            end = given_up(target.attempts, due, schedule.max_retries, target.expires_at)
            if end is not None:
                return result(Disposal.HELD), Event(event.HELD, now, facts | {"reason": end.value})
            return result(Disposal.AGAIN, due), Event(event.DEFERRED, now, facts | {"next": due})
