"""Answers for as long as they are good: the TTL they came with, capped; never a trouble (RFC 2308 §5).

What was good may be given for an hour more, but only by `stale`: for when nobody can be asked (RFC 8767 §4). Bounded in
entries and in the memory they take; what was not asked for longest goes first.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace

from mtad.model.answer import Answer, MailExchange, Question, Status

MAX_ENTRIES = 20_000
MAX_OCTETS = 16 * 1024 * 1024
MAX_TTL_SECONDS = 3600.0
MAX_NEGATIVE_TTL_SECONDS = 300.0
STALE_SECONDS = 3600.0
STALE_TTL_SECONDS = 30.0
# About what an answer and its place here take, and each record beside its text.
_ENTRY_OCTETS = 500
_RECORD_OCTETS = 80


@dataclass(frozen=True, slots=True)
class _Entry:
    """An answer, until when it is good, and until when it is better than nothing."""

    until: float
    gone_at: float
    answer: Answer


class Cache:
    """Answers by question; times are seconds of one monotonic clock."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_octets: int = MAX_OCTETS) -> None:
        self._max_entries = max_entries
        self._max_octets = max_octets
        self._octets = 0
        self._entries: OrderedDict[Question, _Entry] = OrderedDict()

    def get(self, question: Question, now: float) -> Answer | None:
        """Return what is known, with the seconds it still holds; None when nothing is."""
        entry = self._entries.get(question)
        if entry is None:
            return None
        if entry.until <= now:
            if entry.gone_at <= now:
                self._drop(question)
            return None
        self._entries.move_to_end(question)
        return replace(entry.answer, ttl_seconds=entry.until - now)

    def put(self, answer: Answer, now: float) -> Answer:
        """Keep an answer if it may be kept, and return it with its TTL capped."""
        cap = MAX_TTL_SECONDS if answer.status is Status.FOUND else MAX_NEGATIVE_TTL_SECONDS
        answer = replace(answer, ttl_seconds=0.0 if answer.temporary else min(cap, answer.ttl_seconds))
        if answer.ttl_seconds > 0:
            until = now + answer.ttl_seconds
            self._keep(_Entry(until, until + STALE_SECONDS, answer))
        return answer

    def stale(self, question: Question, now: float) -> Answer | None:
        """Return what was known until lately, good for some seconds more; None when nothing was."""
        entry = self._entries.get(question)
        if entry is None or entry.gone_at <= now:
            return None
        answer = replace(entry.answer, ttl_seconds=min(STALE_TTL_SECONDS, entry.gone_at - now))
        self._keep(_Entry(now + answer.ttl_seconds, entry.gone_at, entry.answer))
        return answer

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, question: Question) -> None:
        self._octets -= _octets(self._entries.pop(question).answer)

    def _keep(self, entry: "_Entry") -> None:
        question = entry.answer.question
        if question in self._entries:
            self._drop(question)
        self._entries[question] = entry
        self._octets += _octets(entry.answer)
        while len(self._entries) > self._max_entries or self._octets > self._max_octets:
            self._drop(next(iter(self._entries)))


def _octets(answer: Answer) -> int:
    """Return about how much memory an answer takes."""
    texts = sum(len(record.host if isinstance(record, MailExchange) else record) for record in answer.records)
    return _ENTRY_OCTETS + len(answer.detail) + texts + _RECORD_OCTETS * len(answer.records)
