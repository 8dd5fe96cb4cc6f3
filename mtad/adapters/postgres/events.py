"""Timeline events as the octets of a column: a JSON list, never searched by the database (DESIGN §5)."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from mtad.adapters.postgres.pool import Cursor
from mtad.model.event import Event, Fact
from mtad.model.text import shown

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[Event, ...]).decode

# Events of one message: time, message, organisation, and the two of `encoded`, in the dialect of the pool.
TELL = """
insert into message_events (at, message, organisation, kinds, events)
values (to_timestamp(%s), %s, %s, string_to_array(%s, ','), %s)
"""

_TELL_ALL = """
insert into message_events (at, message, organisation, kinds, events)
select to_timestamp(at), message, organisation, string_to_array(kinds, ','), events
from unnest(%s::float8[], %s::bigint[], %s::bigint[], %s::text[], %s::bytea[])
    as told (at, message, organisation, kinds, events)
"""


async def tell_all(cursor: Cursor, told: Sequence[tuple[float, int, int, tuple[Event, ...]]]) -> None:
    """Write what is told of many messages in one statement: time, message, organisation and events of each."""
    if told:
        rows = [(at, message, organisation, *encoded_anyway(events)) for at, message, organisation, events in told]
        await cursor.execute(_TELL_ALL, tuple(map(list, zip(*rows, strict=True))))


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
