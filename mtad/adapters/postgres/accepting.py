"""Acceptances on their way into the database: encoded at once, batched, given up after 30 s (DESIGN D6, D7)."""

import struct
from collections.abc import Sequence

from psycopg.pq.abc import PGresult
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mtad.adapters.postgres import events
from mtad.adapters.postgres.binary import INT8, chunk_array, chunks, read_bool, scalar
from mtad.adapters.postgres.libpq import Refused, Request
from mtad.adapters.postgres.lines import BATCH_COUNT, ROW_OCTETS, Item, Line
from mtad.adapters.postgres.recovery import Forgotten, Recovery
from mtad.adapters.postgres.statements import ACCEPT, CHUNK_PLACES, EVENTS, FORGOTTEN, KEYS, MESSAGES, ROWS
from mtad.model.content import Content
from mtad.model.errors import LeaseLost, MtadError, NoAnswer, NoRoom, Unacceptable, Unavailable
from mtad.model.event import abandoned_event
from mtad.model.job import CHUNK_OCTETS, Acceptance, Message
from mtad.model.key import key_number

ACCEPT_SECONDS = 30.0


class Accepting(Item):
    """An acceptance in the form of the wire, but for its content, which is not copied before it goes."""

    __slots__ = ("accepted", "content", "content_id", "events", "keys", "messages", "rows", "since", "sizes", "tried")

    def __init__(self, acceptance: Acceptance, owner: int) -> None:
        """Encode; Unacceptable when some value has no place in its column."""
        messages = acceptance.messages
        told = [message for message in messages if message.events]
        rows = [row for message in messages for row in _rows(message)]
        keys = [(message.id, key_number(key)) for message in messages for key in dict.fromkeys(message.keys)]
        try:
            self.messages = MESSAGES.encode([_message(message) for message in messages])
            self.rows = ROWS.encode(rows)
            self.events = EVENTS.encode([(message.id, *events.encoded(message.events)) for message in told])
            self.keys = KEYS.encode(keys)
        except (ValueError, OverflowError, struct.error) as error:
            raise Unacceptable(f"message {messages[0].id}: {error}") from error
        octets = len(acceptance.content) + ROW_OCTETS * (len(messages) + len(rows) + len(keys))
        super().__init__(owner, len(messages), octets)
        self.sizes = (len(messages), len(rows), len(told), len(keys))
        self.content_id = acceptance.content_id
        self.content: Content = acceptance.content
        self.accepted = [(each.id, each.organisation, each.received_at, each.copies) for each in messages]
        self.since = 0.0
        self.tried = False

    def succeed(self, results: list[PGresult]) -> None:
        """Answer, and keep the content no longer."""
        super().succeed(results)
        self.content = b""

    def fail(self, trouble: Exception) -> None:
        """Answer that it was not done, or that this is not known; keep the content no longer."""
        super().fail(trouble)
        self.content = b""

    def forgotten(self, now: float) -> Forgotten:
        """Return what must be removed when nobody is told that it was accepted; `now` is of the clock of `since`."""
        waited_seconds = now - self.since
        told = [
            (number, organisation, at, *events.encoded((abandoned_event(at),)))
            for number, organisation, at in (
                (number, organisation, received_at + waited_seconds)
                for number, organisation, received_at, _ in self.accepted
            )
        ]
        return Forgotten(
            messages=tuple(number for number, *_ in self.accepted),
            shared=tuple(number for number, _, _, copies in self.accepted if copies > 1),
            told=FORGOTTEN.encode(told),
            keys=self.keys,
            key_count=self.sizes[3],
        )


class AcceptLine(Line[Accepting]):
    """Acceptances that wait for their commit; each for 30 s at most.

    One that is given up, or refused, when it may have been done already goes to the recovery, which removes it.
    """

    def __init__(self, recovery: Recovery, clock: IReactorTime, count: int = BATCH_COUNT, width: int = 1_000) -> None:
        super().__init__(count=count, width=width)
        self._recovery = recovery
        self._clock = clock
        self._ageing: dict[Accepting, None] = {}
        self._timer: IDelayedCall | None = None

    def put(self, item: Accepting) -> None:
        """Let an acceptance wait, from now on."""
        super().put(item)
        item.since = self._clock.seconds()
        self._watch(item)

    def _watch(self, item: Accepting) -> None:
        """Begin to count an acceptance's seconds."""
        self._ageing[item] = None
        if self._timer is None:
            self._timer = self._clock.callLater(ACCEPT_SECONDS, self._give_up)

    def _unwatch(self, item: Accepting) -> None:
        """Count no more: it is answered."""
        self._ageing.pop(item, None)

    def _give_up(self) -> None:
        """Fail what waits for too long, and look again when the next one will."""
        self._timer = None
        now = self._clock.seconds()
        for item in list(self._ageing):
            left_seconds = item.since + ACCEPT_SECONDS - now
            if left_seconds > 0:
                self._timer = self._clock.callLater(left_seconds, self._give_up)
                return
            self._abandon(item, f"no answer for {ACCEPT_SECONDS:g} s")

    def _abandon(self, item: Accepting, why: str) -> None:
        """Fail an acceptance and take it out of the line; one that is on its way is seen to when it is answered."""
        self._fail(item, NoAnswer("postgres", why))
        if item in self._waiting:
            self._waiting.remove(item)
            self.dropped(item)

    def dropped(self, item: Accepting) -> None:
        """Have an acceptance removed that was sent before."""
        if item.tried:
            self._forget(item)

    def _forget(self, item: Accepting) -> None:
        self._recovery.forgotten.append(item.forgotten(self._clock.seconds()))

    def _fail(self, item: Accepting, trouble: Exception) -> None:
        self._unwatch(item)
        item.fail(trouble)

    def request(self, items: Sequence[Accepting]) -> Request:
        """Return one ACCEPT for all of them."""
        return ((ACCEPT, [scalar(INT8, items[0].owner), *arrays(items)]),)

    def done(self, items: Sequence[Accepting], results: list[PGresult]) -> None:
        """Tell who waits; what was given up meanwhile is removed, and what was done before a node lost its row."""
        stands = read_bool(results[0].get_value(0, 0))
        for item in items:
            if not stands:
                self.dropped(item)
                self._fail(item, LeaseLost(f"node {item.owner} has no row"))
            elif item.answered:
                self._forget(item)
            else:
                self._unwatch(item)
                item.succeed(results)

    def come_back(self, items: list[Accepting], tried: bool) -> None:
        """Wait again, but for what was given up meanwhile."""
        for item in items:
            item.tried = item.tried or tried
            if item.answered:
                self.dropped(item)
        super().come_back([item for item in items if not item.answered], tried)

    def repeats(self, refusal: Refused) -> bool:
        """Return whether to ask again: a peer can wait for a disk that is full as well as we."""
        return refusal.for_now and not refusal.for_want_of_room

    def refused(self, item: Accepting, refusal: Refused) -> None:
        """Fail what is at fault; of a try before this one it is not known whether it was refused."""
        self.dropped(item)
        self._fail(item, _trouble(refusal))

    def fail_all(self, trouble: Unavailable) -> None:
        """Fail all that waits, and watch no age any more.

        This is the end, without a connection: what may have been done is not removed, but freed with the node's rows.
        """
        super().fail_all(trouble)
        self._ageing.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _trouble(refusal: Refused) -> MtadError:
    if refusal.for_its_data:
        return Unacceptable(str(refusal))
    return (NoRoom if refusal.for_want_of_room else Unavailable)("postgres", str(refusal))


def arrays(items: Sequence[Accepting]) -> list[bytes]:
    """Return the arrays of MESSAGES, ROWS, EVENTS, KEYS and CHUNKS, perhaps of nothing."""
    return [*envelopes(items), *_chunks(items)]


def envelopes(items: Sequence[Accepting]) -> list[bytes]:
    """Return the arrays of MESSAGES, ROWS, EVENTS and KEYS."""
    sizes = zip(*[item.sizes for item in items], strict=True) if items else ((),) * 4
    messages, rows, told, keys = map(sum, sizes)
    return [
        *MESSAGES.parameters([item.messages for item in items], messages),
        *ROWS.parameters([item.rows for item in items], rows),
        *EVENTS.parameters([item.events for item in items], told),
        *KEYS.parameters([item.keys for item in items], keys),
    ]


def _chunks(items: Sequence[Accepting]) -> list[bytes]:
    """Return the arrays of CHUNKS."""
    places: list[tuple[int, int]] = []
    pieces: list[bytes | memoryview] = []
    for item in items:
        # What is spooled goes by a line of its own (`mtad.adapters.postgres.large`).
        assert isinstance(item.content, bytes)
        parts = chunks(item.content, CHUNK_OCTETS)
        places += [(item.content_id, n) for n in range(len(parts))]
        pieces += parts
    return [*CHUNK_PLACES.parameters([CHUNK_PLACES.encode(places)], len(places)), chunk_array(pieces)]


def _message(message: Message) -> tuple[object, ...]:
    return (
        message.id,
        message.organisation,
        message.direction,
        None if message.reverse_path is None else message.reverse_path.plain,
        len(message.recipients),
        message.content_id,
        message.copies,
        message.size,
        message.received_at,
        message.parameters.smtputf8,
        message.parameters.ret,
        message.parameters.envid,
    )


def _rows(message: Message) -> list[tuple[object, ...]]:
    return [
        (
            message.id,
            recipient.n,
            recipient.destination,
            recipient.address.plain,
            None if recipient.original == recipient.address else recipient.original.plain,
            message.expires_at,
            recipient.notify,
            recipient.orcpt,
            recipient.expanded,
            recipient.n in message.quarantined,
        )
        for recipient in message.recipients
    ]
