"""From one SMTP transaction to the messages it becomes: one an organisation, each recipient once (pure).

Two organisations that receive one message share its octets and nothing else: each has its own `messages` row, its own
recipients, its own timeline. The peer is told one id, which stands in Received as well: that of the first message and
of the content. The others are found by it too.

What an organisation submits is its own outbound message, as far as it leads to its own domains or elsewhere; in another
organisation's domains it is foreign mail (DESIGN D12), which tells nothing of the submitter but the address it came
from. The submitter's own story says to whom it was handed over, and nothing of what becomes of it there; where nobody
else gets it, that story has a message without recipients, which carries no content.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mtad.model import event
from mtad.model.address import Address, path
from mtad.model.envelope import PLAIN, Parameters, Peer, Recipient
from mtad.model.event import Event, Fact
from mtad.model.identity import print_id
from mtad.model.job import Message
from mtad.model.report import Action, asks, behind_alias, together
from mtad.model.route import Place, Route
from mtad.model.tenant import Submitter
from mtad.model.text import shown
from mtad.model.verdict import Quarantine

_HANDED_OVER = "another organisation here"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is the same for all messages of a transaction. `message_id` is the header's raw value, if any.

    `submitter` is who submitted it, None for mail from outside; `events` are further ones of the submitter's own story.
    `parameters` are those of MAIL; `longest_line` is told where it is longer than lines should be (not 0). `verified`
    says of each organisation what its story is told of whom the mail is from, `quarantines` why forward-paths are kept.
    """

    content_id: int
    next_id: Callable[[], int]
    size: int
    now: float
    expires_at: float
    message_id: bytes | None
    submitter: Submitter | None = None
    events: tuple[Event, ...] = ()
    parameters: Parameters = PLAIN
    longest_line: int = 0
    verified: Mapping[int, Event] = field(default_factory=dict)
    quarantines: Mapping[Address, Quarantine] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Way:
    """One of the places a forward-path leads to, and the NOTIFY that holds for it there."""

    route: Route
    place: Place
    notify: str | None


def address_messages(
    peer: Peer, reverse_path: Address | None, routes: tuple[Route, ...], stamp: Stamp
) -> tuple[Message, ...]:
    """Return the messages, the first of which has the content's id, which the peer is told."""
    by_organisation: dict[int, list[Route]] = {}
    for route in sorted(routes, key=lambda route: not _is_own(route.organisation, stamp)):
        assert route.organisation is not None
        by_organisation.setdefault(route.organisation, []).append(route)
    messages = [
        _message(
            stamp.content_id if number == 0 else stamp.next_id(),
            organisation,
            len(by_organisation),
            peer,
            reverse_path,
            theirs,
            stamp,
        )
        for number, (organisation, theirs) in enumerate(by_organisation.items())
    ]
    if stamp.submitter is not None and stamp.submitter.organisation not in by_organisation:
        own = _message(stamp.next_id(), stamp.submitter.organisation, 1, peer, reverse_path, [], stamp)
        messages.append(replace(own, content_id=own.id))
    return tuple(_handing_over(message, routes, stamp) for message in messages)


def _handing_over(message: Message, routes: tuple[Route, ...], stamp: Stamp) -> Message:
    """Return a message, if it is the submitter's with which of its forward-paths others' domains here have got."""
    if not _is_own(message.organisation, stamp):
        return message
    others = [str(route.forward_path) for route in routes if not _is_own(route.organisation, stamp)]
    told = (Event(event.ROUTED, stamp.now, {"forward_path": each, "rule": _HANDED_OVER}) for each in others)
    keys = dict.fromkeys((*message.keys, *others))
    return replace(message, keys=tuple(keys), events=(*message.events, *told))


def _message(
    message_id: int,
    organisation: int,
    copies: int,
    peer: Peer,
    reverse_path: Address | None,
    routes: list[Route],
    stamp: Stamp,
) -> Message:
    chosen = _chosen(routes, stamp.quarantines)
    recipients = _recipients(chosen)
    told = print_id(stamp.content_id) if message_id != stamp.content_id else None
    header_id = shown(stamp.message_id.strip(), 250) if stamp.message_id else None
    foreign = stamp.submitter is not None and not _is_own(organisation, stamp)
    received = _received_inside if foreign else _received
    return Message(
        id=message_id,
        organisation=organisation,
        direction="outbound" if _is_own(organisation, stamp) else "inbound",
        reverse_path=reverse_path,
        recipients=recipients,
        content_id=stamp.content_id,
        size=stamp.size,
        received_at=stamp.now,
        expires_at=stamp.expires_at,
        copies=copies,
        keys=(*_keys(None if foreign else peer, reverse_path, recipients, header_id), *((told,) if told else ())),
        events=(
            received(peer, reverse_path, stamp, header_id, told),
            *([stamp.verified[organisation]] if organisation in stamp.verified else ()),
            *(() if foreign else stamp.events),
            *_routed(routes, stamp.now),
            *_quarantined(chosen, stamp),
        ),
        parameters=stamp.parameters,
        quarantined=frozenset(n for n, way in enumerate(chosen) if way.route.forward_path in stamp.quarantines),
    )


def _is_own(organisation: int | None, stamp: Stamp) -> bool:
    """Return whether a message of that organisation is what it submitted itself."""
    return stamp.submitter is not None and organisation == stamp.submitter.organisation


def _chosen(routes: list[Route], quarantines: Mapping[Address, Quarantine]) -> list[_Way]:
    """Return one way to each place, with all that the paths which lead there ask to be told of it.

    It is that of the first path that asks for success, else for most. One that is quarantined counts only where no
    other leads there.
    """
    leading: dict[str, list[_Way]] = {}
    for route in routes:
        notify = behind_alias(route.notify) if len(route.places) > 1 else route.notify
        for place in route.places:
            leading.setdefault(place.address.key, []).append(_Way(route, place, notify))
    if all(len(ways) == 1 for ways in leading.values()):
        return [only for (only,) in leading.values()]

    def weight(way: _Way) -> tuple[bool, bool, int, bool]:
        path_itself = asks(way.route.notify, Action.EXPANDED)
        return way.route.forward_path not in quarantines, asks(way.notify, Action.DELIVERED), _asked(way), path_itself

    chosen = [max(ways, key=weight) for ways in leading.values()]
    told_of = {way.route.forward_path for way in chosen}
    return [
        replace(first, notify=together(first.notify, _also_asked(first, ways, told_of, quarantines)))
        for first, ways in zip(chosen, leading.values(), strict=True)
    ]


def _also_asked(
    first: _Way, ways: list[_Way], told_of: Collection[Address], quarantines: Mapping[Address, Quarantine]
) -> Iterator[str | None]:
    """Yield what the other paths to a place ask for; of an alias none of whose places is left to it, all of that."""
    open_way = first.route.forward_path not in quarantines
    for way in ways:
        if way is not first and not (open_way and way.route.forward_path in quarantines):
            yield way.notify if way.route.forward_path in told_of else way.route.notify


def _recipients(chosen: list[_Way]) -> tuple[Recipient, ...]:
    told: set[Address] = set()
    return tuple(_recipient(n, way, told) for n, way in enumerate(chosen))


def _asked(way: _Way) -> int:
    """Return how much the sender wants to be told, from silence on."""
    return sum(asks(way.notify, action) for action in (Action.FAILED, Action.DELAYED, Action.DELIVERED))


def _recipient(n: int, way: _Way, told: set[Address]) -> Recipient:
    """Return a recipient with what its sender asked for (RFC 3461 §5.2.7.2, §5.2.7.3).

    What leads to one place keeps it. Of what leads to several success is told as soon as the first one was tried, and
    not of each; `told` has the forward-paths for which there is such a first one, and is added to.
    """
    route, place = way.route, way.place
    expanded = False
    if len(route.places) > 1 and route.notify is not None:
        expanded = asks(route.notify, Action.EXPANDED) and route.forward_path not in told
        told.add(route.forward_path)
    return Recipient(n, route.forward_path, place.address, place.destination, way.notify, route.orcpt, expanded)


def _keys(
    peer: Peer | None, reverse_path: Address | None, recipients: tuple[Recipient, ...], header_id: str | None
) -> tuple[str, ...]:
    keys: dict[str, None] = {} if peer is None else {peer.host: None}
    if reverse_path is not None:
        keys[str(reverse_path)] = None
    if header_id:
        keys[header_id] = None
    for recipient in recipients:
        keys[str(recipient.original)] = None
        keys[str(recipient.address)] = None
    return tuple(keys)


def _received(peer: Peer, reverse_path: Address | None, stamp: Stamp, header_id: str | None, told: str | None) -> Event:
    """Return how the story begins; `told` is the id the peer knows the message by, if that is another."""
    facts: dict[str, Fact] = {
        "peer": peer.host,
        "helo": peer.helo,
        "tls": peer.tls,
        "reverse_path": path(reverse_path),
        "size": stamp.size,
        "message_id": header_id,
        "longest_line": stamp.longest_line or None,
        "told_id": told,
    }
    if stamp.submitter is not None:
        credential = stamp.submitter.credential
        facts["submitter"] = "a relay network" if credential is None else str(credential.mailbox.address)
    return Event(event.RECEIVED, stamp.now, facts)


def _received_inside(
    _: Peer, reverse_path: Address | None, stamp: Stamp, header_id: str | None, told: str | None
) -> Event:
    """Return what is told of foreign mail that was submitted here: who handed it in is not its receivers' to know."""
    facts: dict[str, Fact] = {
        "peer": None,
        "submitted_here": True,
        "reverse_path": path(reverse_path),
        "size": stamp.size,
        "message_id": header_id,
        "longest_line": stamp.longest_line or None,
        "told_id": told,
    }
    return Event(event.RECEIVED, stamp.now, facts)


def _routed(routes: list[Route], now: float) -> list[Event]:
    return [
        Event(
            event.ROUTED,
            now,
            {
                "forward_path": str(route.forward_path),
                "rule": route.rule,
                "to": [str(place.address) for place in route.places],
                "dead_ends": [str(address) for address in route.dead_ends],
            },
        )
        for route in routes
    ]


def _quarantined(chosen: list[_Way], stamp: Stamp) -> Iterator[Event]:
    """Yield what is told of recipients that are kept, an event for each rule and reason."""
    kept: dict[Quarantine, list[str]] = {}
    for way in chosen:
        quarantine = stamp.quarantines.get(way.route.forward_path)
        if quarantine is not None:
            kept.setdefault(quarantine, []).append(str(way.place.address))
    for quarantine, recipients in kept.items():
        facts: dict[str, Fact] = {
            "rule": quarantine.rule,
            "reason": quarantine.reason,
            "recipients": recipients[: event.NAMED_RECIPIENTS],
            "count": len(recipients),
        }
        yield Event(event.QUARANTINED, stamp.now, facts)
