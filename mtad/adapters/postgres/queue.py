"""The durable queue in PostgreSQL (IQueue, IQueueCare; DESIGN D6-D8, §5).

The hot path goes through the `Writer`: acceptances and settlements in batches of all that wait, claims and contents
one by one. An acceptance is repeated for 30 s, a settlement until it is written; everything else fails at once when
the database cannot be reached, and nothing is lost by that: rows whose claim nobody heard of are found by `owned`.
People's questions and the sweeper go through the `Pool`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from psycopg.pq.abc import PGresult
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mtad.adapters.postgres import care
from mtad.adapters.postgres.accepting import Accepting, AcceptLine
from mtad.adapters.postgres.binary import (
    INT4,
    INT8,
    TEXT,
    TIMESTAMP,
    array,
    read_bool,
    read_bytes,
    read_int,
    read_optional_text,
    read_text,
    read_time,
    rows,
    scalar,
)
from mtad.adapters.postgres.large import LargeAcceptLine
from mtad.adapters.postgres.libpq import Refused, Request, Statement
from mtad.adapters.postgres.lines import BATCH_OCTETS, Item, Line
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.settling import Settling, SomeLine, WholeLine
from mtad.adapters.postgres.statements import CLAIM, KEPT_ROWS, LANES, OWNED, READ_CONTENT, READY, RELEASE, SEIZE
from mtad.adapters.postgres.writer import Writer
from mtad.interfaces import IQueue, IQueueCare, ISpool
from mtad.model.address import from_plain
from mtad.model.content import Content
from mtad.model.envelope import Parameters, Recipient
from mtad.model.errors import LeaseLost, Unavailable
from mtad.model.job import LANES_VISITED, Acceptance, Job, Lane, Ready, Row, Settlement, Status, Target, Waiting

_CHUNKS_A_READ = 4
_BEFORE_ALL = Lane(-(1 << 63), "")


class Asking(Item):
    """A statement that goes alone and only once."""

    __slots__ = ("statement",)

    def __init__(self, statement: Statement, parameters: Sequence[bytes]) -> None:
        super().__init__(0)
        self.statement = (statement, parameters)


class AskLine(Line[Asking]):
    """Statements that are not repeated: without a connection they fail. None of them meets what broke."""

    writes = False

    def __init__(self) -> None:
        super().__init__(count=1)

    def request(self, items: Sequence[Asking]) -> Request:
        """Return the statement."""
        return (items[0].statement,)

    def done(self, items: Sequence[Asking], results: list[PGresult]) -> None:
        """Tell who waits."""
        items[0].succeed(results)

    def come_back(self, items: list[Asking], tried: bool) -> None:
        """Tell who waits that it is not known, or not now."""
        items[0].fail(Unavailable("postgres", "the connection was lost"))

    def refused(self, item: Asking, refusal: Refused) -> None:
        """Tell who waits; an error nobody expects is temporary."""
        item.fail(Unavailable("postgres", str(refusal)))

    def unreachable(self, trouble: Unavailable) -> None:
        """Fail all that waits."""
        self.fail_all(trouble)


@implementer(IQueue, IQueueCare)
class PostgresQueue:
    """The queue over a writer, which it gives its lines, and a pool; large contents are read back into the spool.

    Contents are kept until they are `keep_content_seconds` old, whatever became of their messages. `clock` ages
    acceptances that wait.
    """

    def __init__(
        self,
        writer: Writer,
        pool: Pool,
        spool: ISpool,
        *,
        keep_content_seconds: float = 0.0,
        clock: IReactorTime | None = None,
    ) -> None:
        clock = writer.clock if clock is None else clock
        self._spool = spool
        self._writer = writer
        self._pool = pool
        self._keep_content_seconds = keep_content_seconds
        self._accepts = AcceptLine(writer.recovery, clock)
        self._large_accepts = LargeAcceptLine(writer.recovery, clock)
        self._wholes = WholeLine(clock, keep_content_seconds)
        self._somes = SomeLine(clock, keep_content_seconds)
        self._asks = AskLine()
        for line in (self._accepts, self._wholes, self._asks, self._somes, self._large_accepts):
            writer.carry(line)

    async def accept(self, acceptance: Acceptance, owner: int) -> None:
        """See IQueue."""
        item = Accepting(acceptance, owner)
        self._writer.put(self._large_accepts if item.octets > BATCH_OCTETS else self._accepts, item)
        await item.answer

    async def settle(self, settlements: Sequence[Settlement], owner: int, now: float) -> None:
        """See IQueue."""
        if settlements:
            item = Settling(settlements, owner, now)
            self._writer.put(self._wholes if item.whole else self._somes, item)
            await item.answer

    async def ready(self, now: float, limit: int, after: Lane | None = None) -> Ready:
        """See IQueue."""
        behind = after or _BEFORE_ALL
        lane = (scalar(INT8, behind.organisation), scalar(TEXT, behind.destination))
        visited = scalar(INT8, LANES_VISITED)
        result = await self._ask(READY, scalar(TIMESTAMP, now), scalar(INT8, limit), *lane, visited)
        seen = rows(result, read_int, read_text, read_bool, read_bool)
        more = [Lane(*row[:2]) for row in seen if row[3]]
        return Ready(tuple(Lane(*row[:2]) for row in seen if row[2]), more[0] if more else None)

    async def claim(self, owner: int, lanes: Sequence[Lane], per_lane: int, now: float) -> Sequence[Job]:
        """See IQueue."""
        wanted = LANES.encode([(lane.organisation, lane.destination) for lane in lanes])
        result = await self._ask(
            CLAIM,
            scalar(INT8, owner),
            scalar(TIMESTAMP, now),
            scalar(INT8, per_lane),
            *LANES.parameters([wanted], len(lanes)),
        )
        return _jobs(_taken(result, owner))

    async def content(self, content_id: int) -> Content:
        """See IQueue."""
        gathering = self._spool.gather()
        count = 0
        while count % _CHUNKS_A_READ == 0:
            read = await self._chunks(content_id, count, _CHUNKS_A_READ)
            if not read:
                break
            for chunk in read:
                gathering.add(chunk)
            count += len(read)
        # All chunks of a content go at once. Where it ends, or went meanwhile, the last chunk tells.
        if count % _CHUNKS_A_READ == 0 and not await self._chunks(content_id, max(0, count - 1), 1):
            raise KeyError(content_id)
        return gathering.content()

    async def _chunks(self, content_id: int, first: int, count: int) -> list[bytes]:
        result = await self._ask(READ_CONTENT, scalar(INT8, content_id), scalar(INT4, first), scalar(INT4, count))
        return [chunk for (chunk,) in rows(result, read_bytes)]

    async def release(self, rows: Sequence[Row], owner: int, now: float) -> None:
        """See IQueue."""
        kept = KEPT_ROWS.encode([(row.message, row.n, row.claim) for row in rows])
        arrays = KEPT_ROWS.parameters([kept], len(rows))
        await self._ask(RELEASE, scalar(INT8, owner), scalar(TIMESTAMP, now), *arrays)

    async def owned(self, owner: int) -> Sequence[Row]:
        """See IQueueCare."""
        result = await self._ask(OWNED, scalar(INT8, owner))
        return [Row(*row) for row in rows(result, read_int, read_int, read_int)]

    async def sweep(self, before: float) -> int:
        """See IQueueCare."""
        return await care.sweep(self._pool, before, before - self._keep_content_seconds)

    async def sizes(self) -> dict[Status, int]:
        """See IQueueCare."""
        return await care.sizes(self._pool)

    async def waiting(self, message: int) -> Waiting | None:
        """See IQueueCare."""
        return await care.waiting(self._pool, message)

    async def expire_quarantined(self, before: float, now: float, by: str) -> int:
        """See IQueueCare."""
        return await care.expire_quarantined(self._pool, before, now, by)

    async def seize(self, message: int, owner: int, rows: Sequence[int] = ()) -> Job | None:
        """See IQueueCare."""
        wanted = scalar(INT8, owner), scalar(INT8, message), array(INT8, rows)
        lanes = _jobs(_taken(await self._ask(SEIZE, *wanted), owner))
        if not lanes:
            return None
        targets = sorted((target for job in lanes for target in job.targets), key=lambda target: target.recipient.n)
        return replace(lanes[0], targets=tuple(targets))

    async def _ask(self, statement: Statement, *parameters: bytes) -> PGresult:
        await self._writer.check()
        item = Asking(statement, parameters)
        self._writer.put(self._asks, item)
        (result,) = await item.answer
        return result


_CLAIMED = (
    read_bool, read_int, read_int, read_text, read_optional_text, read_int, read_int, read_time, read_int, read_int,
    read_bool, read_optional_text, read_optional_text, read_int, read_text, read_optional_text, read_optional_text,
    read_optional_text, read_bool, read_int, read_int, read_time, read_bool,
)  # fmt: skip


def _taken(result: PGresult, owner: int) -> list[tuple[Any, ...]]:
    """Return the rows that were taken; LeaseLost when the node is none."""
    taken = rows(result, *_CLAIMED)
    if not taken[0][0]:
        raise LeaseLost(f"node {owner} has no row")
    return [row for row in taken if row[1]]


def _jobs(claimed: Iterable[tuple[Any, ...]]) -> list[Job]:
    """Return rows of CLAIM as jobs: one a message and lane."""
    return [_job(head, list(group)) for head, group in groupby(claimed, key=lambda row: row[1:13])]


def _job(head: tuple[Any, ...], group: list[tuple[Any, ...]]) -> Job:
    message, organisation, destination, reverse_path, content_id, size, received_at, total, copies, *asked = head
    return Job(
        message=message,
        organisation=organisation,
        destination=destination,
        reverse_path=None if reverse_path is None else from_plain(reverse_path),
        content_id=content_id,
        size=size,
        received_at=received_at,
        total=total,
        copies=copies,
        targets=tuple(_target(destination, *row[13:]) for row in group),
        parameters=Parameters(*asked),
    )


def _target(
    destination: str, n: int, address: str, original: str | None, notify: str | None, orcpt: str | None,
    expanded: bool, claim: int, attempts: int, expires_at: float, noticed: bool,
) -> Target:  # fmt: skip
    accepted = from_plain(address if original is None else original)
    recipient = Recipient(n, accepted, from_plain(address), destination, notify, orcpt, expanded)
    return Target(recipient, claim, attempts, expires_at, noticed)
