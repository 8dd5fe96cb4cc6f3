"""Of what a sender is to be told, by what they asked for (RFC 3461 §5.2, §4.1; pure).

    it is in a mailbox, here or in a mail store that speaks LMTP     delivered, when SUCCESS was asked for
    another server took it                                           relayed, when SUCCESS was asked for
    a server or a mail store took it that offers DSN                 nothing: the duty is its own now
    an alias led to several, and the first of them was tried         expanded, when SUCCESS was asked for
    it comes again, and is late                                      delayed, unless it was not asked for; once
    it is given up, or refused for good                              failed, unless it was not asked for

Where there is no reverse-path there is nobody to tell. Writing the reports is `mtad.outbound.bounce`'s work.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mtad.model.job import Disposal, Job, Result, Settlement, Target
from mtad.model.outcome import Delivered
from mtad.model.report import Action, asks
from mtad.scheduling import delay_notice


@dataclass(frozen=True, slots=True)
class Duty:
    """A recipient whose sender is to be told `action` of it, and the result that led to this."""

    target: Target
    result: Result
    action: Action


def duties(job: Job, settlement: Settlement, now: float, delay_notice_seconds: float) -> tuple[Duty, ...]:
    """Return what is to be told of a settlement at `now` (epoch seconds); `delay_notice_seconds` 0: never of delay."""
    if job.reverse_path is None:
        return ()
    return tuple(
        Duty(target, result, action)
        for target, result in zip(job.targets, settlement.results, strict=True)
        for action in _actions(job, target, result, now, delay_notice_seconds)
    )


def _actions(job: Job, target: Target, result: Result, now: float, delay_notice_seconds: float) -> Iterator[Action]:
    recipient = target.recipient
    # The first attempt that counts is the only one that finds none before it.
    if recipient.expanded and target.attempts == 0 and result.disposal is not Disposal.UNTRIED:
        yield Action.EXPANDED
    action = _became(job, target, result, now, delay_notice_seconds)
    if action is not None and asks(recipient.notify, action):
        yield action


def _became(job: Job, target: Target, result: Result, now: float, delay_notice_seconds: float) -> Action | None:
    """Return what became of a recipient that is ours to tell; None for nothing new, or for another server's to tell."""
    if result.undelivered:
        return Action.FAILED
    if isinstance(result.outcome, Delivered):
        return None if result.outcome.dsn else _taken(result.outcome)
    late = delay_notice.is_due(job.received_at, now, delay_notice_seconds, target.noticed)
    return Action.DELAYED if late and result.disposal is not Disposal.HELD else None


def _taken(outcome: Delivered) -> Action:
    """Return whether it was delivered, or handed on to a server that may yet fail with it (RFC 3461 §5.2.2)."""
    return Action.DELIVERED if outcome.remote is None or outcome.remote.store else Action.RELAYED
