"""From what a sender is to be told (`mtad.outbound.duty`) to the reports that tell it (pure).

One report for each thing that is to be told of a settlement, naming all recipients it is true of. Reports go out with
the null reverse-path, so that nobody is told of a report that fails (RFC 5321 §6.1), ask for no reports themselves, and
belong to the organisation `system`. Writing them is `mtad.message.dsn`'s work, finding where they lead
`mtad.outbound.reporting`'s.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from mtad.message import dsn, headers
from mtad.message.returned import MAX_HEADER_OCTETS
from mtad.model import event
from mtad.model.address import Address
from mtad.model.content import Content, begin
from mtad.model.envelope import Recipient
from mtad.model.event import Event, Fact
from mtad.model.identity import print_id
from mtad.model.job import Acceptance, Job, Message, Settlement, Told
from mtad.model.outcome import Deferred, Delivered, Outcome, Scope
from mtad.model.report import Action, Fate, Report
from mtad.model.route import Place, Route
from mtad.outbound.duty import Duty
from mtad.outbound.settlement import RETURNED
from mtad.routing.route import local_destination, remote_destination

EXPIRED = "4.4.7"
"""Delivery time expired; of class 4 because sending it again may help (RFC 3463 §2, §3.5)."""

MAX_RETURNED_OCTETS = 1024 * 1024
"""Of a larger message only the header is returned, whatever RET asks for: whoever is named as sender has to bear it."""

_DELIVERED = "it was put into the mailbox"
_EXPANDED = "the address stands for several others, and the message is on its way to them"
_LATE = "it could not be delivered yet"
_OUR_TROUBLE = "this server has trouble of its own"


@dataclass(frozen=True, slots=True)
class Terms:
    """What reports need besides their subject.

    `next_id` issues their ids, `organisation` is whom they belong to, `hostname` who says it, at `now`; their delivery
    is tried until `expires_at` (epoch seconds).
    """

    next_id: Callable[[], int]
    organisation: int
    hostname: str
    now: float
    expires_at: float


def report(
    job: Job, settlement: Settlement, duties: Sequence[Duty], content: Content, route: Route, terms: Terms
) -> Settlement:
    """Return the settlement with its reports, which its events name; `route` is that of the job's reverse-path.

    `content` is the original's, empty when it cannot be read.
    """
    reports = []
    names: dict[int, dict[str, Fact]] = {}
    for action in Action:
        ours = [duty for duty in duties if duty.action is action]
        if not ours:
            continue
        told = _told(job, action, ours, content, route, terms)
        reports.append(told)
        fact = "expansion_report" if action is Action.EXPANDED else "report"
        for n in told.rows:
            names.setdefault(n, {})[fact] = print_id(told.report.content_id)
    late = {duty.result.n for duty in duties if duty.action is Action.DELAYED}
    return replace(
        settlement,
        results=tuple(replace(result, noticed=True) if result.n in late else result for result in settlement.results),
        events=_naming(settlement, names),
        reports=tuple(reports),
    )


def _told(job: Job, action: Action, duties: Iterable[Duty], content: Content, route: Route, terms: Terms) -> Told:
    report_id = terms.next_id()
    fates = tuple(_fate(duty, terms.now) for duty in duties)
    whole = action is Action.FAILED and job.parameters.ret == "FULL" and 0 < len(content) <= MAX_RETURNED_OCTETS
    written = Report(
        id=print_id(report_id),
        reporting_host=terms.hostname,
        sender=route.forward_path,
        original_id=print_id(job.message),
        arrived_at=job.received_at,
        written_at=terms.now,
        fates=fates,
        # Room for the empty line behind as much as is returned: without it, there is more.
        original_headers=headers.split(begin(content, MAX_HEADER_OCTETS + 4))[0],
        action=action,
        original=begin(content, MAX_RETURNED_OCTETS) if whole else None,
        smtputf8=job.parameters.smtputf8,
        envid=job.parameters.envid,
    )
    octets = dsn.build(written)
    message = _message(report_id, written, route, len(octets), terms)
    return Told(Acceptance(report_id, octets, (message,)), action, tuple(duty.result.n for duty in duties))


def _fate(duty: Duty, now: float) -> Fate:
    recipient, outcome = duty.target.recipient, duty.result.outcome
    fate = Fate(recipient.original, "2.0.0", _DELIVERED, "", now, orcpt=recipient.orcpt)
    # A mail store of ours is no MTA that is remote, and may be called by an address (RFC 3464 §2.3.5).
    host = outcome.remote.host if outcome.remote and not outcome.remote.behind else None
    said = _said(outcome)
    match duty.action:
        case Action.DELIVERED:
            return replace(fate, status=_of_class("2", outcome.status))
        case Action.RELAYED:
            server = "the next server" if host is None else f"the server {host}"
            taken = f"{server} took it, and is not one that reports what becomes of it"
            return replace(fate, status=_of_class("2", outcome.status), reason=taken, diagnostic=said, remote_host=host)
        case Action.EXPANDED:
            return replace(fate, reason=_EXPANDED, attempted_at=None)
        case Action.DELAYED:
            return replace(
                fate,
                status=_of_class("4", outcome.status),
                reason=_LATE,
                diagnostic=said,
                remote_host=host,
                retry_until=duty.target.expires_at,
            )
        case Action.FAILED:
            return replace(
                fate,
                status=EXPIRED if isinstance(outcome, Deferred) else _of_class("5", outcome.status),
                reason=duty.result.reason,
                diagnostic=said,
                attempted_at=None if duty.result.reason == RETURNED else now,
                remote_host=host,
            )


def _said(outcome: Outcome) -> str:
    """Return what the sender may hear of an attempt: of trouble of ours, no more than that."""
    if isinstance(outcome, Delivered):
        return outcome.detail
    if outcome.scope is Scope.OURS and not outcome.told:
        return _OUR_TROUBLE
    return outcome.told or outcome.detail


def _of_class(digit: str, status: str) -> str:
    """Return a status as one of that class, whatever the remote called it."""
    return digit + status[1:]


def _naming(settlement: Settlement, names: dict[int, dict[str, Fact]]) -> tuple[Event, ...]:
    """Return the events with the reports that tell of their recipients: one for each result, or one for them all."""
    events = settlement.events
    if len(events) != len(settlement.results):
        every = {fact: report_id for named in names.values() for fact, report_id in named.items()}
        return tuple(replace(told, facts=told.facts | every) for told in events)
    return tuple(
        replace(told, facts=told.facts | names.get(result.n, {}))
        for told, result in zip(events, settlement.results, strict=True)
    )


def _message(report_id: int, written: Report, route: Route, size: int, terms: Terms) -> Message:
    places = _places(route)
    message_id = dsn.message_id(written)
    addresses = [str(route.forward_path), *(str(place.address) for place in places)]
    facts: dict[str, Fact] = {
        "about": written.original_id, "action": written.action.value, "size": size, "message_id": message_id,
    }  # fmt: skip
    routed: dict[str, Fact] = {
        "forward_path": str(route.forward_path),
        "rule": route.rule,
        "to": [str(place.address) for place in places],
    }
    return Message(
        id=report_id,
        organisation=terms.organisation,
        direction="report",
        reverse_path=None,
        recipients=tuple(
            Recipient(n, route.forward_path, place.address, place.destination) for n, place in enumerate(places)
        ),
        content_id=report_id,
        size=size,
        received_at=terms.now,
        expires_at=terms.expires_at,
        keys=tuple(dict.fromkeys([message_id, *addresses])),
        events=(Event(event.REPORTING, terms.now, facts), Event(event.ROUTED, terms.now, routed)),
    )


def _places(route: Route) -> tuple[Place, ...]:
    """Return where the report goes: to somebody here, or out; what leads nowhere here fails when it is delivered."""
    if route.places:
        return route.places
    sender: Address = route.forward_path
    if route.domain is not None and route.domain.verified:
        return (Place(sender, local_destination(route.domain)),)
    return (Place(sender, remote_destination(sender.domain)),)
