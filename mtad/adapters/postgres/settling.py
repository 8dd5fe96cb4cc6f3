"""Settlements on their way into the database: repeated until they are written, or the node is no more (DESIGN D8).

One that is refused for its data would be refused for ever: whoever asked hears of it, and can ask for less.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from psycopg.pq.abc import PGresult
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from mtad.adapters.postgres import events
from mtad.adapters.postgres.accepting import Accepting, arrays
from mtad.adapters.postgres.binary import INT8, array, read_bool, scalar
from mtad.adapters.postgres.libpq import Refused, Request
from mtad.adapters.postgres.lines import ROW_OCTETS, Item, Line
from mtad.adapters.postgres.statements import (
    ALL_CONTENTS,
    CLEAN,
    DISPOSALS,
    LOCK_MESSAGES,
    RESULTS,
    SETTLE_SOME,
    SETTLE_WHOLE,
    SETTLEMENTS,
    SUBJECTS,
)
from mtad.model.errors import LeaseLost, Unacceptable, Unavailable
from mtad.model.identity import first_id
from mtad.model.job import Settlement

_log = Logger()
_PUT_OFF_SECONDS = 5.0
# Numbers settlements in a batch: two of one message may meet there.
_numbers = count(1)


class Settling(Item):
    """Settlements of one call in the form of the wire; `whole` when each takes all its message has and reports nothing.

    Raises Unacceptable for what has no place in the tables.
    """

    __slots__ = (
        "messages", "now", "reports", "result_count", "results", "settlements", "shared", "subject_count", "subjects",
        "whole",
    )  # fmt: skip

    def __init__(self, settlements: Sequence[Settlement], owner: int, now: float) -> None:
        numbered = list(zip(_numbers, settlements, strict=False))
        self.whole = all(settlement.whole and not settlement.reports for settlement in settlements)
        rows = list(_results(numbered) if self.whole else _disposals(numbered))
        subjects = list(_subjects(numbered))
        try:
            self.settlements = SETTLEMENTS.encode([
                (number, each.message, each.organisation, now, *events.encoded_anyway(each.events))
                for number, each in numbered
            ])  # fmt: skip
            self.results = (RESULTS if self.whole else DISPOSALS).encode(rows)
            self.subjects = SUBJECTS.encode(subjects)
        except (ValueError, OverflowError, struct.error) as error:
            raise Unacceptable(f"settling message {settlements[0].message}: {error}") from error
        self.result_count = len(rows)
        self.subject_count = len(subjects)
        # They never wait by themselves; this is only their form.
        self.reports = [Accepting(told.report, owner) for settlement in settlements for told in settlement.reports]
        octets = ROW_OCTETS * (len(settlements) + len(rows)) + sum(report.octets for report in self.reports)
        super().__init__(owner, len(settlements), octets)
        self.now = now
        self.messages = [settlement.message for settlement in settlements]
        self.shared = [settlement.message for settlement in settlements if settlement.copies > 1]


class SettleLine(Line[Settling]):
    """Settlements that wait for their commit, as long as it takes. Contents go at the age of `keep_content_seconds`."""

    def __init__(self, clock: IReactorTime, keep_content_seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._keep_content_seconds = keep_content_seconds
        self._put_off: dict[Settling, IDelayedCall] = {}

    def done(self, items: Sequence[Settling], results: list[PGresult]) -> None:
        """Tell who waits."""
        # The statement that settles comes first, or second behind the locks.
        stands = read_bool(results[min(1, len(results) - 1)].get_value(0, 0))
        for item in items:
            if stands:
                item.succeed(results)
            else:
                item.fail(LeaseLost(f"node {item.owner} has no row"))

    def refused(self, item: Settling, refusal: Refused) -> None:
        """Fail what is at fault; else try again later, apart from others: what was delivered must not be again."""
        _log.error("Settling message {message} was refused: {refusal}", message=item.messages[0], refusal=refusal)
        if refusal.for_its_data:
            item.fail(Unacceptable(str(refusal)))
            return
        self._put_off[item] = self._clock.callLater(_PUT_OFF_SECONDS, self._put_back, item)

    def kept(self, items: Sequence[Settling]) -> bytes:
        """Return the parameter that says from which id on contents are kept."""
        if not self._keep_content_seconds:
            return scalar(INT8, ALL_CONTENTS)
        return scalar(INT8, first_id(min(item.now for item in items) - self._keep_content_seconds))

    def _put_back(self, item: Settling) -> None:
        del self._put_off[item]
        self.set_apart([item])

    def fail_all(self, trouble: Unavailable) -> None:
        """Fail all that waits, now or for later."""
        while self._put_off:
            item, timer = self._put_off.popitem()
            timer.cancel()
            item.fail(trouble)
        super().fail_all(trouble)


class WholeLine(SettleLine):
    """The plain case, one statement: nothing of the messages is left."""

    def request(self, items: Sequence[Settling]) -> Request:
        """Return one SETTLE_WHOLE for all of them."""
        owner, *settlements = _settlements(items)
        return ((SETTLE_WHOLE, [owner, self.kept(items), *settlements, *RESULTS.parameters(*_rows(items))]),)


class SomeLine(SettleLine):
    """All other cases: messages are locked before, and looked after when it is seen what is left.

    Reports are accepted in the same statement.
    """

    def request(self, items: Sequence[Settling]) -> Request:
        """Return LOCK_MESSAGES, SETTLE_SOME and CLEAN for all of them, one transaction."""
        messages = array(INT8, [message for item in items for message in item.messages])
        shared = array(INT8, [message for item in items for message in item.shared])
        return (
            (LOCK_MESSAGES, (messages, shared)),
            (SETTLE_SOME, [*_settlements(items), *DISPOSALS.parameters(*_rows(items)), *_reports(items)]),
            (CLEAN, (messages, self.kept(items))),
        )


def _settlements(items: Sequence[Settling]) -> list[bytes]:
    total = sum(item.count for item in items)
    return [scalar(INT8, items[0].owner), *SETTLEMENTS.parameters([item.settlements for item in items], total)]


def _rows(items: Sequence[Settling]) -> tuple[list[tuple[bytes, ...]], int]:
    return [item.results for item in items], sum(item.result_count for item in items)


def _reports(items: Sequence[Settling]) -> list[bytes]:
    subjects = SUBJECTS.parameters([item.subjects for item in items], sum(item.subject_count for item in items))
    return [*subjects, *arrays([report for item in items for report in item.reports])]


def _results(numbered: Iterable[tuple[int, Settlement]]) -> Iterator[tuple[object, ...]]:
    for number, settlement in numbered:
        for result in settlement.results:
            yield number, settlement.message, result.n, result.claim


def _disposals(numbered: Iterable[tuple[int, Settlement]]) -> Iterator[tuple[object, ...]]:
    for number, settlement in numbered:
        for result in settlement.results:
            disposal = result.disposal.value
            row = settlement.message, result.n, result.claim
            yield number, *row, disposal, result.due, result.noticed, result.hold


def _subjects(numbered: Iterable[tuple[int, Settlement]]) -> Iterator[tuple[object, ...]]:
    for number, settlement in numbered:
        for told in settlement.reports:
            for message in told.report.messages:
                for n in told.rows:
                    yield number, n, message.id
