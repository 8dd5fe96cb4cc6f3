"""Timeline events as the octets of a column: a JSON list, never searched by the database (DESIGN §5)."""

from dataclasses import replace

import msgspec

from mtad.model.event import Event, Fact
from mtad.model.text import shown

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[Event, ...]).decode

# Events of one message: time, message, organisation, and the two of `encoded`, in the dialect of the pool.
TELL = """
insert into message_events (at, message, organisation, kinds, events)
values (to_timestamp(%s), %s, %s, string_to_array(%s, ','), %s)
"""


def encoded(events: tuple[Event, ...]) -> tuple[str, bytes]:
    """Return the kinds, joined by commas, and the events; ValueError for text that is no text (lone surrogates)."""
    return ",".join([event.kind for event in events]), _encode(events)


def encoded_anyway(events: tuple[Event, ...]) -> tuple[str, bytes]:
    """Return the same, with text that is no text escaped: for events that must not be the reason of a failure."""
    try:
        return encoded(events)
    except ValueError:
        return encoded(tuple(_escaped(event) for event in events))


def decoded(octets: bytes) -> tuple[Event, ...]:
    """Return the events of `encoded`."""
    return _decode(octets)


def _escaped(event: Event) -> Event:
    return replace(event, facts={shown(name): _fit(fact) for name, fact in event.facts.items()})


def _fit(fact: Fact) -> Fact:
    if isinstance(fact, str):
        return shown(fact)
    return [shown(part) for part in fact] if isinstance(fact, list) else fact
