"""Timeline events: what happened to a message, which rule or record decided, and on which facts.

Every step that decides writes one, in the transaction of the rows it concerns (DESIGN §3). Facts are small and
already fit to be shown (`mtad.model.text.shown`). One whose name ends in `_at` is a time in epoch seconds.
"""

from dataclasses import dataclass, field

Fact = str | int | float | bool | None | list[str]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened at `at` (epoch seconds); `kind` is a word of the table below."""

    kind: str
    at: float
    facts: dict[str, Fact] = field(default_factory=dict)


RECEIVED = "received"
ROUTED = "routed"
SIGNED = "signed"
VERIFIED = "verified"
QUARANTINED = "quarantined"
DELIVERED = "delivered"
DEFERRED = "deferred"
FAILED = "failed"
HELD = "held"
TAKEN_OVER = "taken-over"
REPORTING = "reporting"
RETRIED = "retried"
RELEASED = "released"
REMOVED = "removed"
ABANDONED = "abandoned"

NAMED_RECIPIENTS = 20


def freed_event(at: float, recipients: list[str], held: bool) -> Event:
    """Return what is told of rows whose server ended while it had them: queued again, or `held` the third time.

    It names a few of the recipients and counts all.
    """
    facts: dict[str, Fact] = {"recipients": recipients[:NAMED_RECIPIENTS], "count": len(recipients)}
    if not held:
        return Event(TAKEN_OVER, at, facts)
    return Event(HELD, at, {**facts, "reason": "the server ended three times while handling this"})


def abandoned_event(at: float) -> Event:
    """Return what is told of a message whose peer was sent away when it was too late to take all of it back."""
    return Event(ABANDONED, at, {"reason": "answered 451, and delivered all the same; it will be sent again"})


def kept_event(at: float, recipients: list[str], hold: int, reason: str, by: str) -> Event:
    """Return what is told of rows that met a hold, by its id, why it was placed and by whom."""
    named = recipients[:NAMED_RECIPIENTS]
    return Event(HELD, at, {"recipients": named, "count": len(recipients), "hold": hold, "reason": reason, "by": by})


def let_go_event(at: float, recipients: list[str], by: str) -> Event:
    """Return what is told of rows whose hold is over; `by` is who or what ended it."""
    return care_event(RELEASED, at, recipients, by)


def care_event(kind: str, at: float, recipients: list[str], by: str) -> Event:
    """Return what is told of rows that somebody dealt with by hand; `by` is the command they used."""
    return Event(kind, at, {"recipients": recipients[:NAMED_RECIPIENTS], "count": len(recipients), "by": by})


@dataclass(frozen=True, slots=True)
class Happening:
    """One transaction's events of one message, as the timeline returns them."""

    message: int
    organisation: int
    at: float
    events: tuple[Event, ...]
