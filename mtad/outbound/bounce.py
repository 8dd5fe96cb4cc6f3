"""From results that are final to the report that tells the sender (pure).

One report a settlement, naming all recipients that ended undelivered in it. It goes out with the null reverse-path, so
that nobody is told of a report that fails (RFC 5321 §6.1), and belongs to the organisation `system`. Writing it is
`mtad.message.dsn`'s work, finding where it leads `mtad.outbound.reporting`'s.
"""

from dataclasses import dataclass, replace

from mtad.message import dsn, headers
from mtad.model import event
from mtad.model.address import Address
from mtad.model.envelope import Recipient
from mtad.model.event import Event
from mtad.model.identity import print_id
from mtad.model.job import Acceptance, Job, Message, Result, Settlement, Target
from mtad.model.outcome import Deferred, Delivered
from mtad.model.report import Report, Undelivered
from mtad.model.route import Place, Route
from mtad.outbound.settlement import RETURNED
from mtad.routing.route import local_destination, remote_destination

EXPIRED = "4.4.7"
"""Delivery time expired; of class 4 because sending it again may help (RFC 3463 §2, §3.5)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a report needs besides its subject.

    `id` is the report's own, `organisation` whom it belongs to, `hostname` who says it, at `now`; its delivery is tried
    until `expires_at` (epoch seconds).
    """

    id: int
    organisation: int
    hostname: str
    now: float
    expires_at: float


def is_due(job: Job, settlement: Settlement) -> bool:
    """Whether the sender is to be told of something: never when there is none, as of a report."""
    return job.reverse_path is not None and any(result.undelivered for result in settlement.results)


def report(job: Job, settlement: Settlement, content: bytes, route: Route, terms: Terms) -> Settlement:
    """Return the settlement with its report, which its events name; `route` is that of the job's reverse-path.

    `content` is the original's, empty when it cannot be read.
    """
    told = {result.n: result for result in settlement.results if result.undelivered}
    written = Report(
        id=print_id(terms.id),
        reporting_host=terms.hostname,
        sender=route.forward_path,
        original_id=print_id(job.message),
        arrived_at=job.received_at,
        written_at=terms.now,
        undelivered=tuple(
            _undelivered(target, told[target.recipient.n], terms.now)
            for target in job.targets
            if target.recipient.n in told
        ),
        original_headers=headers.split(content)[0],
    )
    octets = dsn.build(written)
    message = _message(written, route, len(octets), terms)
    return replace(
        settlement,
        events=tuple(_naming(each, written.id) for each in settlement.events),
        reports=(Acceptance(terms.id, octets, (message,)),),
    )


def _undelivered(target: Target, result: Result, now: float) -> Undelivered:
    outcome = result.outcome
    told = "" if isinstance(outcome, Delivered) else outcome.told
    status = EXPIRED if isinstance(outcome, Deferred) else f"5{outcome.status[1:]}"
    return Undelivered(
        recipient=target.recipient.original,
        status=status,
        reason=result.reason,
        diagnostic=told or outcome.detail,
        attempted_at=None if result.reason == RETURNED else now,
        remote_host=outcome.remote.host if outcome.remote else None,
    )


def _naming(told: Event, report_id: str) -> Event:
    return replace(told, facts=told.facts | {"report": report_id}) if told.kind == event.FAILED else told


def _message(written: Report, route: Route, size: int, terms: Terms) -> Message:
    places = _places(route)
    message_id = dsn.message_id(written)
    addresses = [str(route.forward_path), *(str(place.address) for place in places)]
    return Message(
        id=terms.id,
        organisation=terms.organisation,
        direction="report",
        reverse_path=None,
        recipients=tuple(
            Recipient(n, route.forward_path, place.address, place.destination) for n, place in enumerate(places)
        ),
        content_id=terms.id,
        size=size,
        received_at=terms.now,
        expires_at=terms.expires_at,
        keys=tuple(dict.fromkeys([message_id, *addresses])),
        events=(
            Event(event.REPORTING, terms.now, {"about": written.original_id, "size": size, "message_id": message_id}),
            Event(
                event.ROUTED,
                terms.now,
                {
                    "forward_path": str(route.forward_path),
                    "rule": route.rule,
                    "to": [str(place.address) for place in places],
                },
            ),
        ),
    )


def _places(route: Route) -> tuple[Place, ...]:
    """Return where the report goes: to somebody here, or out; what leads nowhere here fails when it is delivered."""
    if route.places:
        return route.places
    sender: Address = route.forward_path
    if route.domain is not None and route.domain.verified:
        return (Place(sender, local_destination(route.domain)),)
    return (Place(sender, remote_destination(sender.domain)),)
