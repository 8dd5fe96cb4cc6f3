"""From one SMTP transaction to the messages it becomes: one an organisation, each recipient once (pure).

Two organisations that receive one message share its octets and nothing else: each has its own `messages` row, its own
recipients, its own timeline. The peer is told one id, which stands in Received as well: that of the first message and
of the content. The others are found by it too.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mtad.model import event
from mtad.model.address import Address, path
from mtad.model.envelope import Peer, Recipient
from mtad.model.event import Event
from mtad.model.identity import print_id
from mtad.model.job import Message
from mtad.model.route import Place, Route
from mtad.model.text import shown


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is the same for all messages of a transaction. `message_id` is the header's raw value, if any."""

    content_id: int
    next_id: Callable[[], int]
    size: int
    now: float
    expires_at: float
    message_id: bytes | None


def address_messages(
    peer: Peer, reverse_path: Address | None, routes: tuple[Route, ...], stamp: Stamp
) -> tuple[Message, ...]:
    """Return the messages, the first of which has the content's id, which the peer is told."""
    by_organisation: dict[int, list[Route]] = {}
    for route in routes:
        assert route.organisation is not None
        by_organisation.setdefault(route.organisation, []).append(route)
    return tuple(
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
    )


def _message(
    message_id: int,
    organisation: int,
    copies: int,
    peer: Peer,
    reverse_path: Address | None,
    routes: list[Route],
    stamp: Stamp,
) -> Message:
    recipients = _recipients(routes)
    told = print_id(stamp.content_id) if message_id != stamp.content_id else None
    header_id = shown(stamp.message_id.strip(), 250) if stamp.message_id else None
    return Message(
        id=message_id,
        organisation=organisation,
        direction="inbound",
        reverse_path=reverse_path,
        recipients=recipients,
        content_id=stamp.content_id,
        size=stamp.size,
        received_at=stamp.now,
        expires_at=stamp.expires_at,
        copies=copies,
        keys=(*_keys(peer, reverse_path, recipients, header_id), *((told,) if told else ())),
        events=(_received(peer, reverse_path, stamp, header_id, told), *_routed(routes, stamp.now)),
    )


def _recipients(routes: list[Route]) -> tuple[Recipient, ...]:
    places: dict[str, tuple[Address, Place]] = {}
    for route in routes:
        for place in route.places:
            places.setdefault(place.address.key, (route.forward_path, place))
    return tuple(
        Recipient(n, original, place.address, place.destination) for n, (original, place) in enumerate(places.values())
    )


def _keys(
    peer: Peer, reverse_path: Address | None, recipients: tuple[Recipient, ...], header_id: str | None
) -> tuple[str, ...]:
    keys = dict.fromkeys([peer.host])
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
    return Event(
        event.RECEIVED,
        stamp.now,
        {
            "peer": peer.host,
            "helo": peer.helo,
            "tls": peer.tls,
            "reverse_path": path(reverse_path),
            "size": stamp.size,
            "message_id": header_id,
            "told_id": told,
        },
    )


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
