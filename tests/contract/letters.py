"""Acceptances and settlements for the contracts, short to write."""

from mtad.model.address import Address
from mtad.model.envelope import Recipient
from mtad.model.event import DEFERRED, DELIVERED, HELD, RECEIVED, REPORTING, Event
from mtad.model.job import Acceptance, Disposal, Job, Message, Result, Settlement
from mtad.model.outcome import Deferred, Delivered, Failed, Scope

NOW = 1_800_000_000.0
DAY = 86_400.0
ANN = Address("ann", "outside.example")
ALICE = Address("alice", "acme.example")
LANE = "local:acme.example"


def recipients(count: int, destination: str = LANE) -> tuple[Recipient, ...]:
    addresses = [Address(f"user{n}", "acme.example") for n in range(count)]
    return tuple(Recipient(n, address, address, destination) for n, address in enumerate(addresses))


def message(number: int, **terms: object) -> Message:
    """Return a message of one recipient, received NOW; `terms` replace fields."""
    plain = {
        "id": number,
        "organisation": 1,
        "direction": "inbound",
        "reverse_path": ANN,
        "recipients": (Recipient(0, ALICE, ALICE, LANE),),
        "content_id": number,
        "size": 7,
        "received_at": NOW,
        "expires_at": NOW + 5 * DAY,
        "keys": (f"<{number}@outside.example>", "alice@acme.example"),
        "events": (Event(RECEIVED, NOW, {"peer": "192.0.2.1"}),),
    }
    return Message(**{**plain, **terms})


def letter(number: int, content: bytes = b"content", **terms: object) -> Acceptance:
    return Acceptance(number, content, (message(number, **terms),))


def shared_letter(first: int, second: int, content: bytes = b"shared") -> Acceptance:
    """Return a content that two organisations' messages carry."""
    messages = tuple(
        message(number, organisation=organisation, content_id=first, copies=2)
        for organisation, number in enumerate((first, second), start=1)
    )
    return Acceptance(first, content, messages)


def gone(n: int = 0, claim: int = 1) -> Result:
    return Result(n, claim, Delivered("stored"), Disposal.GONE)


def failed(n: int = 0, claim: int = 1) -> Result:
    return Result(n, claim, Failed("no such user", Scope.RECIPIENT), Disposal.GONE, reason="refused")


def again(n: int = 0, claim: int = 1, due: float = NOW + 300) -> Result:
    return Result(n, claim, Deferred("busy", Scope.RECIPIENT), Disposal.AGAIN, due)


def held(n: int = 0, claim: int = 1) -> Result:
    return Result(n, claim, Deferred("stopped", Scope.MESSAGE), Disposal.HELD)


_KINDS = {Disposal.GONE: DELIVERED, Disposal.AGAIN: DEFERRED, Disposal.UNTRIED: DEFERRED, Disposal.HELD: HELD}


def settlement(
    number: int, *results: Result, total: int = 1, copies: int = 1, organisation: int = 1, at: float = NOW + 1
) -> Settlement:
    """Return a settlement with one event for each result."""
    events = tuple(Event(_KINDS[result.disposal], at, {"n": result.n}) for result in results)
    return Settlement(number, organisation, total, copies, results, events)


def report(number: int, **terms: object) -> Acceptance:
    """Return a report to ANN, written NOW + 1."""
    to = (Recipient(0, ANN, ANN, "mx:outside.example"),)
    plain = {
        "direction": "report",
        "reverse_path": None,
        "recipients": to,
        "received_at": NOW + 1,
        "keys": ("ann@outside.example",),
        "events": (Event(REPORTING, NOW + 1, {"about": "x"}),),
    }
    return letter(number, b"report", **{**plain, **terms})


def of_job(job: Job, *results: Result, at: float = NOW + 1) -> Settlement:
    return settlement(job.message, *results, total=job.total, copies=job.copies, organisation=job.organisation, at=at)
