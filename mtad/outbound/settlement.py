"""What becomes of a job's rows after an attempt: gone, tried again, or held (pure).

A recipient that is out of tries, out of time or finally refused is gone, with the reason in its timeline and in its
result, from which the sender is told (`mtad.outbound.duty`). What only a human can judge is held.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mtad.model import event
from mtad.model.event import Event, Fact
from mtad.model.hold import Hold
from mtad.model.job import Disposal, Job, Result, Settlement, Target
from mtad.model.outcome import Deferred, Delivered, Failed, Outcome, Scope
from mtad.model.report import Action, asks
from mtad.model.text import shown
from mtad.scheduling.retry import given_up, next_due

REFUSED = "it was refused for good"
RETURNED = "somebody who looks after this server returned it"
UNASKED = "its sender asked for no report"
HANDED_ON = "that server took over to report"
UNREPORTED = "the report could not be written"
UNWRITABLE = Failed("what this message came to could not be written", Scope.MESSAGE, "5.3.0")
MISSING = Failed("the content of this message is missing", Scope.MESSAGE, "5.3.0")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a recipient is tried again, and how often at most.

    With `soft_bounce` what was refused for good is tried again like what was refused for now.
    """

    retry_delay_seconds: float
    max_retry_delay_seconds: float
    max_retries: int
    soft_bounce: bool = False


def settle(job: Job, outcomes: Sequence[Outcome], now: float, schedule: Schedule, chance: float) -> Settlement:
    """Return what to write; `outcomes` in the order of the job's targets.

    `chance` is drawn from [0, 1), once for all: what was tried together is tried together again.
    """
    results = []
    events = []
    for target, met in zip(job.targets, outcomes, strict=True):
        outcome = _softened(met) if schedule.soft_bounce and isinstance(met, Failed) else met
        result, happened = _settle_one(job, target, outcome, now, schedule, chance)
        results.append(result)
        events.append(happened)
    return Settlement(job.message, job.organisation, job.total, job.copies, tuple(results), tuple(events))


def hold(job: Job, outcome: Failed, now: float) -> Settlement:
    """Return what to write when only a human can help: all of the job is held, for the reason `outcome` tells."""
    return _all(job, outcome, Disposal.HELD, Event(event.HELD, now, {"reason": outcome.detail}))


def keep_back(job: Job, met: Hold, now: float) -> Settlement:
    """Return what to write of a job that met a hold: all of it is held by that, and was not tried."""
    told = event.kept_event(
        now, [str(target.recipient.address) for target in job.targets], met.id, met.reason, met.held_by
    )
    outcome = Deferred(f"on hold: {met.reason}", Scope.OURS, "4.3.0")
    results = tuple(
        Result(target.recipient.n, target.claim, outcome, Disposal.HELD, now, hold=met.id) for target in job.targets
    )
    return Settlement(job.message, job.organisation, job.total, job.copies, results, (told,))


def escaped(settlement: Settlement) -> Settlement:
    """Return the same without reports, with nothing but printable ASCII in its events: what any database takes."""
    return replace(settlement, reports=(), events=tuple(map(_escaped, settlement.events)))


def return_to_sender(job: Job, now: float, by: str) -> Settlement:
    """Return what to write when somebody ends a job unserved; `by` is the command they used."""
    returned = Failed("", Scope.MESSAGE)
    recipients = [str(target.recipient.address) for target in job.targets]
    facts: dict[str, Fact] = {
        "recipients": recipients[: event.NAMED_RECIPIENTS], "count": len(recipients), "reason": RETURNED, "by": by,
    }  # fmt: skip
    if not any(asks(target.recipient.notify, Action.FAILED) for target in job.targets):
        facts["unreported"] = UNASKED
    return _all(job, returned, Disposal.GONE, Event(event.FAILED, now, facts), RETURNED)


def _all(job: Job, outcome: Failed, disposal: Disposal, told: Event, reason: str = "") -> Settlement:
    results = tuple(
        Result(target.recipient.n, target.claim, outcome, disposal, reason=reason) for target in job.targets
    )
    return Settlement(job.message, job.organisation, job.total, job.copies, results, (told,))


def _settle_one(
    job: Job, target: Target, outcome: Outcome, now: float, schedule: Schedule, chance: float
) -> tuple[Result, Event]:
    def result(disposal: Disposal, due: float = 0.0, reason: str = "") -> Result:
        return Result(target.recipient.n, target.claim, outcome, disposal, due, reason)

    facts: dict[str, Fact] = {
        "recipient": str(target.recipient.address),
        "attempt": target.attempts + 1,
        "status": outcome.status,
        "detail": outcome.detail,
        **_where(outcome),
    }
    match outcome:
        case Delivered():
            return result(Disposal.GONE), Event(event.DELIVERED, now, facts | _handed_on(target, outcome))
        case Failed():
            failed = Event(event.FAILED, now, facts | _silence(target) | {"reason": REFUSED})
            return result(Disposal.GONE, reason=REFUSED), failed
        case Deferred():
            # Trouble of ours says nothing about the other side: it uses up no tries and lengthens no wait.
            ours = outcome.scope is Scope.OURS
            attempts = 0 if ours else target.attempts
            end = given_up(-1 if ours else attempts, now, schedule.max_retries, target.expires_at)
            if end is not None:
                failed = Event(event.FAILED, now, facts | _silence(target) | {"reason": end.value})
                return result(Disposal.GONE, reason=_tried(target.attempts + 1, now - job.received_at)), failed
            due = next_due(
                attempts=attempts,
                now=now,
                retry_delay_seconds=schedule.retry_delay_seconds,
                max_retry_delay_seconds=schedule.max_retry_delay_seconds,
                chance=chance,
                expires_at=target.expires_at,
            )
            return result(Disposal.UNTRIED if ours else Disposal.AGAIN, due), Event(
                event.DEFERRED, now, facts | {"next_at": due}
            )


def _escaped(told: Event) -> Event:
    facts: dict[str, Fact] = {name: _in_ascii(fact) for name, fact in told.facts.items()}
    if told.kind == event.FAILED:
        facts.setdefault("unreported", UNREPORTED)
    return replace(told, facts=facts)


def _in_ascii(fact: Fact) -> Fact:
    if isinstance(fact, list):
        return [shown(part).encode("ascii", "backslashreplace").decode() for part in fact]
    return shown(fact).encode("ascii", "backslashreplace").decode() if isinstance(fact, str) else fact


def _softened(failed: Failed) -> Deferred:
    """Return a final failure as one for now, with the status of that (RFC 3463 §2)."""
    return Deferred(failed.detail, failed.scope, f"4{failed.status[1:]}", failed.remote, failed.told)


def _tried(times: int, seconds: float) -> str:
    """Return for the sender, who knows of no retries, how often it was tried and for how long."""
    if times == 1:
        return "it was tried once, and is given up"
    for unit, length in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0)):
        if count := int(seconds / length + 0.01):
            span = f"{count} {unit}" if count == 1 else f"{count} {unit}s"
            return f"it was tried {times} times in {span}, and is given up"
    return f"it was tried {times} times in less than a minute, and is given up"


def _silence(target: Target) -> dict[str, Fact]:
    """Return the fact that says why nobody is told of a failure, where that is so (RFC 3461 §4.1)."""
    return {} if asks(target.recipient.notify, Action.FAILED) else {"unreported": UNASKED}


def _handed_on(target: Target, delivered: Delivered) -> dict[str, Fact]:
    """Return the fact that says who tells of a success, where it is told by another server (RFC 3461 §5.2.1)."""
    asked = asks(target.recipient.notify, Action.DELIVERED)
    return {"unreported": HANDED_ON} if asked and delivered.dsn else {}


def _where(outcome: Outcome) -> dict[str, Fact]:
    """Return the facts that say which server an attempt was made at."""
    if outcome.remote is None:
        return {}
    remote = outcome.remote
    facts: dict[str, Fact] = {"host": remote.host, "address": remote.address, "tls": remote.tls}
    return facts | {"earlier": "; ".join(remote.earlier)} if remote.earlier else facts
