"""What the queue's tables would hold, in memory: the rules of the queue without its waiting.

`mtad.testing.queue` gives it to flows through the ports. A store outlives the worlds that use it: a test drops a
world as a crash would, and builds the next one over the same store.

Each method is one transaction. What an adapter does about broken connections is not here; `retry`, `remove`,
`free_quarantined` and `listing` are what people do with mtactl.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from twisted.internet.interfaces import IReactorTime

from mtad.model.content import blocks
from mtad.model.errors import LeaseLost, Unacceptable, Unavailable
from mtad.model.event import (
    ABANDONED,
    RELEASED,
    REMOVED,
    RETRIED,
    Event,
    Fact,
    Happening,
    abandoned_event,
    care_event,
    freed_event,
)
from mtad.model.identity import SLOTS, first_id
from mtad.model.job import (
    DESTINATION_OCTETS,
    LANES_VISITED,
    TAKEOVERS_UNTIL_HELD,
    Acceptance,
    Disposal,
    Job,
    Lane,
    Message,
    Node,
    Ready,
    Result,
    Row,
    RowState,
    Settlement,
    Status,
    Target,
    Waiting,
)
from mtad.model.key import key_number
from mtad.model.process import Standing
from mtad.testing.holds import HoldTable
from mtad.testing.rows import QueueRow
from mtad.testing.wakeups import MemoryWakeups

SLOT_REST_SECONDS = 3600
_DAY_SECONDS = 86400


@dataclass(slots=True)
class NodeRow:
    """A row of `nodes`."""

    name: str
    slot: int
    beat: int = 0
    stats: dict[str, Fact] = field(default_factory=dict)
    draining: bool = False


@dataclass(slots=True)
class SlotRow:
    """A row of `node_slots`; times are of the store's own clock."""

    last_beat: float
    last_id: int = 0


class MemoryStore:
    """The tables. `clock` is the database's own, by which slots rest; all other times come with the calls.

    `wakeups` tells of changes what triggers would. Contents are kept until they are `keep_content_seconds` old.
    `sound_octets` is what acceptances said of their contents, which no table has.
    """

    def __init__(self, clock: IReactorTime, keep_content_seconds: float = 0.0) -> None:
        self.clock = clock
        self.keep_content_seconds = keep_content_seconds
        self.messages: dict[int, Message] = {}
        self.contents: dict[int, bytes] = {}
        self.sound_octets: dict[int, int] = {}
        self.rows: dict[tuple[int, int], QueueRow] = {}
        self.wakeups = MemoryWakeups()
        self.holds = HoldTable(self.rows, self.wakeups, self._tell)
        self.happenings: list[Happening] = []
        self.keys: list[tuple[float, int, int, int]] = []
        self.nodes: dict[int, NodeRow] = {}
        self.slots: dict[int, SlotRow] = {}
        self.last_owner = 0

    def accept(self, acceptance: Acceptance, owner: int) -> None:
        """Write what is not there yet of an acceptance, owned and delivering; LeaseLost, Unacceptable."""
        self._require(owner)
        _check_texts(acceptance)
        self.sound_octets[acceptance.content_id] = acceptance.sound_octets
        self._add(acceptance, owner)

    def _add(self, acceptance: Acceptance, owner: int | None) -> None:
        for message in acceptance.messages:
            if message.id not in self.messages:
                self._insert(message, owner)
                self.contents.setdefault(acceptance.content_id, b"".join(blocks(acceptance.content)))

    def _insert(self, message: Message, owner: int | None) -> None:
        """Add a message, its rows delivering for `owner`, or queued when there is none; or quarantined."""
        status, claim = (Status.QUEUED, 0) if owner is None else (Status.DELIVERING, 1)
        self.messages[message.id] = replace(message, events=(), keys=(), quarantined=frozenset())
        for recipient in message.recipients:
            row = self.rows[message.id, recipient.n] = QueueRow(
                message.id, message.organisation, recipient, status, claim,
                message.received_at, message.expires_at, owner,
            )  # fmt: skip
            if recipient.n in message.quarantined:
                row.status, row.owner = Status.QUARANTINED, None
        self._tell(message.id, message.organisation, message.received_at, message.events)
        self.keys.extend(
            (message.received_at, message.organisation, key_number(key), message.id) for key in message.keys
        )

    def forget(self, acceptance: Acceptance, waited_seconds: float) -> None:
        """Remove what nobody had since it was accepted; a message that had more is told of, once."""
        for message in acceptance.messages:
            story = self.story(message.id)
            rows = [key for key, row in self.rows.items() if row.message == message.id and row.claim == 1]
            for key in rows:
                del self.rows[key]
            if message.id in self.messages and len(rows) == len(message.recipients):
                self.happenings = [happening for happening in self.happenings if happening.message != message.id]
                self.keys = [key for key in self.keys if key[3] != message.id]
            elif story and not any(event.kind == ABANDONED for each in story for event in each.events):
                at = message.received_at + waited_seconds
                self._tell(message.id, message.organisation, at, (abandoned_event(at),))
            self._clean(message.id)

    def ready(self, now: float, limit: int, after: Lane | None) -> Ready:
        """Return lanes with due rows in their order, behind `after`, of those visited."""
        queued = [row for row in self.rows.values() if row.status is Status.QUEUED]
        due = {row.lane for row in queued if row.due <= now}
        behind = {row.lane for row in queued if after is None or _order(row.lane) > _order(after)}
        found: list[Lane] = []
        for visited, lane in enumerate(sorted(behind, key=_order), start=1):
            found += [lane] if lane in due else []
            if len(found) == limit or visited == LANES_VISITED:
                return Ready(tuple(found), lane)
        return Ready(tuple(found))

    def claim(self, owner: int, lanes: Sequence[Lane], per_lane: int, now: float) -> list[Job]:
        """Take due rows for `owner`; LeaseLost."""
        self._require(owner)
        jobs = []
        for lane in lanes:
            due = (row for row in self.rows.values() if row.lane == lane and row.status is Status.QUEUED)
            taken = sorted((row for row in due if row.due <= now), key=lambda row: row.due)[:per_lane]
            for row in taken:
                row.status, row.owner, row.claim, row.hold = Status.DELIVERING, owner, row.claim + 1, None
                row.expires_at += self.holds.waited(row)
            messages = dict.fromkeys(row.message for row in taken)
            jobs += [self._job(number, lane, [row for row in taken if row.message == number]) for number in messages]
        return jobs

    def _job(self, number: int, lane: Lane, rows: Iterable[QueueRow]) -> Job:
        message = self.messages[number]
        return Job(
            message=number,
            organisation=lane.organisation,
            destination=lane.destination,
            reverse_path=message.reverse_path,
            content_id=message.content_id,
            size=message.size,
            received_at=message.received_at,
            total=len(message.recipients),
            copies=message.copies,
            targets=tuple(
                Target(row.recipient, row.claim, row.attempts, row.expires_at, row.noticed)
                for row in sorted(rows, key=lambda row: row.recipient.n)
            ),
            parameters=message.parameters,
        )

    def settle(self, settlements: Sequence[Settlement], owner: int, now: float) -> None:
        """Write results, events and reports; LeaseLost, Unacceptable."""
        self._require(owner)
        for settlement in settlements:
            for told in settlement.reports:
                _check_texts(told.report)
        for settlement in settlements:
            matched = {result.n for result in settlement.results if self._apply(settlement.message, result)}
            if matched:
                self._tell(settlement.message, settlement.organisation, now, settlement.events)
                self._clean(settlement.message, self._kept_from(now))
            for told in settlement.reports:
                if matched.intersection(told.rows):
                    self._add(told.report, None)

    def _apply(self, message: int, result: Result) -> bool:
        """Write one result if its claim stands; say whether it did."""
        row = self.rows.get((message, result.n))
        if row is None or row.claim != result.claim:
            return False
        if result.disposal is Disposal.GONE:
            del self.rows[message, result.n]
            return True
        row.owner, row.claim = None, row.claim + 1
        row.attempts += result.disposal is not Disposal.UNTRIED and not result.hold
        row.noticed = row.noticed or result.noticed
        if result.disposal is Disposal.HELD:
            row.status = Status.HELD
            if result.hold:
                row.hold, row.due = result.hold, result.due
        else:
            row.status = Status.HELD if row.status is Status.HELD else Status.QUEUED
            row.due = result.due
        return True

    def release(self, rows: Sequence[Row], owner: int, now: float) -> None:
        """Free those rows that are still this owner's under that claim."""
        for key in rows:
            row = self.rows.get((key.message, key.n))
            if row is not None and row.claim == key.claim and row.owner == owner and owner in self.nodes:
                row.free(now)

    def owned(self, owner: int) -> list[Row]:
        """Return the keys of an owner's rows."""
        return [Row(*key, row.claim) for key, row in sorted(self.rows.items()) if row.owner == owner]

    def sweep(self, before: float) -> int:
        """Remove old messages without rows and contents without messages; return how many messages had one."""
        with_rows = {message for message, _ in self.rows}
        old = [
            message
            for message in self.messages.values()
            if message.received_at < before and message.id not in with_rows
        ]
        kept_from = self._kept_from(before)
        count = sum(1 for message in old if message.content_id in self.contents)
        for message in old:
            self._clean(message.id, kept_from)
        carried = {message.content_id for message in self.messages.values()}
        kept = {number for number in self.contents if number in carried or (kept_from and number >= kept_from)}
        self.contents = {number: octets for number, octets in self.contents.items() if number in kept}
        return count

    def sizes(self) -> dict[Status, int]:
        """Return how many rows have each status."""
        return dict.fromkeys(Status, 0) | Counter(row.status for row in self.rows.values())

    def listing(self, status: Status | None, limit: int, organisation: int | None) -> list[Waiting]:
        """Return messages with rows of that status, oldest first."""
        wanted = {row.message for row in self.rows.values() if status is None or row.status is status}
        numbers = (number for number in sorted(wanted) if organisation in (None, self.messages[number].organisation))
        return [waiting for number in numbers if (waiting := self.waiting(number))][:limit]

    def waiting(self, number: int) -> Waiting | None:
        """Return a message and its rows; None when it has none."""
        rows = tuple(
            RowState(row.recipient, row.status, row.attempts, row.due, row.expires_at, row.owner or 0)
            for (message, _), row in sorted(self.rows.items(), key=lambda item: item[0])
            if message == number
        )
        if not rows:
            return None
        message = self.messages[number]
        return Waiting(number, message.organisation, message.reverse_path, message.size, message.received_at, rows)

    def retry(self, message: int, now: float, by: str) -> int:
        """Let rows that wait or are held be due; return how many."""
        statuses = (Status.QUEUED, Status.HELD)
        rows = [row for row in self._rows_of(message) if row.status in statuses and row.hold is None]
        for row in rows:
            row.free(now)
            row.taken_over = 0
        return self._tell_care(RETRIED, message, now, by, rows)

    def remove(self, message: int, now: float, by: str) -> int:
        """Remove a message's rows that nobody delivers; return how many."""
        return self._remove([row for row in self._rows_of(message) if row.owner is None], message, now, by)

    def _remove(self, rows: Sequence[QueueRow], message: int, now: float, by: str) -> int:
        removed = self._tell_care(REMOVED, message, now, by, rows)
        for row in rows:
            del self.rows[message, row.recipient.n]
        self._clean(message)
        return removed

    def free_quarantined(self, message: int, now: float, by: str) -> int:
        """Let quarantined rows be due; return how many."""
        rows = [row for row in self._rows_of(message) if row.status is Status.QUARANTINED]
        for row in rows:
            row.claim, row.expires_at = row.claim + 1, row.expires_at + (now - row.due)
            row.free(now)
        return self._tell_care(RELEASED, message, now, by, rows)

    def expire_quarantined(self, before: float, now: float, by: str) -> int:
        """Remove rows that are quarantined since before that time; return how many."""
        expired = [row for row in self.rows.values() if row.status is Status.QUARANTINED and row.due < before]
        messages = sorted({row.message for row in expired})
        return sum(self._remove([row for row in expired if row.message == each], each, now, by) for each in messages)

    def _tell_care(self, kind: str, message: int, now: float, by: str, rows: Sequence[QueueRow]) -> int:
        if rows:
            event = care_event(kind, now, [str(row.recipient.address) for row in rows], by)
            self._tell(message, rows[0].organisation, now, (event,))
        return len(rows)

    def seize(self, message: int, owner: int, wanted: Sequence[int]) -> Job | None:
        """Take rows of a message that nobody has for `owner`, all unless some are `wanted`; LeaseLost."""
        self._require(owner)
        rows = [
            row
            for row in self._rows_of(message)
            if row.owner is None and row.status is not Status.QUARANTINED and (not wanted or row.recipient.n in wanted)
        ]
        for row in rows:
            row.status, row.owner, row.claim, row.hold = Status.DELIVERING, owner, row.claim + 1, None
        return self._job(message, rows[0].lane, rows) if rows else None

    def _rows_of(self, message: int) -> list[QueueRow]:
        return [row for (number, _), row in sorted(self.rows.items(), key=lambda item: item[0]) if number == message]

    def join(self, name: str, draining: bool) -> Node:
        """Give a new owner number and a slot that rested."""
        held = {node.slot for node in self.nodes.values()}
        rested = self.clock.seconds() - SLOT_REST_SECONDS
        free = (slot for slot, row in sorted(self.slots.items()) if slot not in held and row.last_beat <= rested)
        slot = next(free, len(self.slots))
        if slot == SLOTS:
            raise Unavailable("postgres", "no slot is free")
        last_id = self.slots[slot].last_id if slot in self.slots else 0
        self.slots[slot] = SlotRow(self.clock.seconds(), last_id)
        self.last_owner += 1
        beside = [node.draining for node in self.nodes.values() if node.name == name]
        self.nodes[self.last_owner] = NodeRow(name, slot, draining=draining or (bool(beside) and all(beside)))
        return Node(self.last_owner, slot, last_id)

    def beat(self, owner: int, last_id: int, stats: dict[str, Fact]) -> Standing:
        """Raise a node's beat; say what its row says."""
        node = self.nodes.get(owner)
        if node is None:
            return Standing.GONE
        node.beat, node.stats = node.beat + 1, dict(stats)
        slot = self.slots[node.slot]
        slot.last_beat, slot.last_id = self.clock.seconds(), max(slot.last_id, last_id)
        return Standing.DRAINING if node.draining else Standing.WORKING

    def take_over(self, owner: int, beat: int, now: float) -> int | None:
        """Delete a node that has not beaten since and free its rows, counting; None when it has."""
        if owner in self.nodes and self.nodes[owner].beat != beat:
            return None
        self.nodes.pop(owner, None)
        return self._free_counting((row for row in self.rows.values() if row.owner == owner), now)

    def free_orphans(self, now: float) -> int:
        """Free rows whose owner has no node, counting."""
        orphans = (row for row in self.rows.values() if row.owner is not None and row.owner not in self.nodes)
        return self._free_counting(orphans, now)

    def _free_counting(self, rows: Iterable[QueueRow], now: float) -> int:
        freed = list(rows)
        told: dict[tuple[int, bool], list[str]] = {}
        for row in freed:
            row.free(now)
            row.taken_over += 1
            held = row.taken_over >= TAKEOVERS_UNTIL_HELD
            if held:
                row.status = Status.HELD
            told.setdefault((row.message, held), []).append(str(row.recipient.address))
        for (message, held), recipients in told.items():
            event = freed_event(now, recipients, held)
            self._tell(message, self.messages[message].organisation, now, (event,))
        return len(freed)

    def leave(self, owner: int, now: float, last_id: int | None) -> int:
        """Free a node's rows, not counting, and delete it; with its last id its slot needs no rest."""
        rows = [row for row in self.rows.values() if row.owner == owner]
        for row in rows:
            row.free(now)
        node = self.nodes.pop(owner, None)
        if node is not None and last_id is not None:
            slot = self.slots[node.slot]
            slot.last_beat, slot.last_id = float("-inf"), max(slot.last_id, last_id)
        return len(rows)

    def story(self, message: int) -> list[Happening]:
        """Return a message's happenings, oldest first."""
        return sorted((each for each in self.happenings if each.message == message), key=lambda each: each.at)

    def search(self, number: int, limit: int, organisation: int | None) -> list[int]:
        """Return messages that carry a key, newest first."""
        found = {key[3] for key in self.keys if key[2] == number and organisation in (None, key[1])}
        return sorted(found, reverse=True)[:limit]

    def drop_before(self, time: float) -> None:
        """Drop the timeline's whole days before that time."""
        day = time // _DAY_SECONDS * _DAY_SECONDS
        self.happenings = [happening for happening in self.happenings if happening.at >= day]
        self.keys = [key for key in self.keys if key[0] >= day]

    def _require(self, owner: int) -> None:
        if owner not in self.nodes:
            raise LeaseLost(f"node {owner} has no row")

    def _tell(self, message: int, organisation: int, at: float, events: tuple[Event, ...]) -> None:
        if events:
            self.happenings.append(Happening(message, organisation, at, events))

    def _kept_from(self, now: float) -> int:
        """Return the id from which on contents are kept, 0 when none is."""
        return first_id(now - self.keep_content_seconds) if self.keep_content_seconds else 0

    def _clean(self, number: int, kept_from: int = 0) -> None:
        """Remove a message that has no rows, and its content when no other carries it and it need not be kept."""
        if number in self.messages and not any(message == number for message, _ in self.rows):
            content_id = self.messages.pop(number).content_id
            kept = kept_from and content_id >= kept_from
            if not kept and not any(message.content_id == content_id for message in self.messages.values()):
                self.contents.pop(content_id, None)


def _order(lane: Lane) -> tuple[int, bytes]:
    """Return what lanes are ordered by: destinations octet by octet, as in a database of locale C."""
    return lane.organisation, lane.destination.encode("utf-8", "surrogatepass")


def _check_texts(acceptance: Acceptance) -> None:
    """Raise Unacceptable for text a database cannot hold: NUL, lone surrogates, destinations too long to index."""
    for text in _texts(acceptance):
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text if letter > "\x7f"):
            raise Unacceptable(f"text with NUL or a lone surrogate: {text!r:.100}")
    for message in acceptance.messages:
        for recipient in message.recipients:
            if len(recipient.destination.encode()) > DESTINATION_OCTETS:
                raise Unacceptable(f"a destination of more than {DESTINATION_OCTETS} octets")


def _texts(acceptance: Acceptance) -> Iterator[str]:
    for message in acceptance.messages:
        yield message.direction
        yield str(message.reverse_path or "")
        yield from (message.parameters.ret or "", message.parameters.envid or "")
        for recipient in message.recipients:
            yield from (str(recipient.original), str(recipient.address), recipient.destination)
            yield from (recipient.notify or "", recipient.orcpt or "")
        for event in message.events:
            yield event.kind
            for fact in event.facts.values():
                # Facts are kept as JSON, where a NUL is nothing special.
                yield "".join(fact if isinstance(fact, list) else [str(fact)]).replace("\0", "")
