"""Answers for as long as they are good: the TTL they came with, capped; never a trouble (RFC 2308 §5).

Bounded in entries and in the memory they take; what was not asked for longest goes first.
"""

from collections import OrderedDict
from dataclasses import replace

from mtad.model.answer import Answer, MailExchange, Question, Status

MAX_ENTRIES = 20_000
MAX_OCTETS = 16 * 1024 * 1024
MAX_TTL_SECONDS = 3600.0
MAX_NEGATIVE_TTL_SECONDS = 300.0
# About what an answer and its place here take, and each record beside its text.
_ENTRY_OCTETS = 500
_RECORD_OCTETS = 80


class Cache:
    """Answers by question; times are seconds of one monotonic clock."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_octets: int = MAX_OCTETS) -> None:
        self._max_entries = max_entries
        self._max_octets = max_octets
        self._octets = 0
        self._entries: OrderedDict[Question, tuple[float, Answer]] = OrderedDict()

    def get(self, question: Question, now: float) -> Answer | None:
        """Return what is known, with the seconds it still holds; None when nothing is."""
        entry = self._entries.get(question)
        if entry is None:
            return None
        until, answer = entry
        if until <= now:
            self._drop(question)
            return None
        self._entries.move_to_end(question)
        return replace(answer, ttl_seconds=until - now)

    def put(self, answer: Answer, now: float) -> Answer:
        """Keep an answer if it may be kept, and return it with its TTL capped."""
        cap = MAX_TTL_SECONDS if answer.status is Status.FOUND else MAX_NEGATIVE_TTL_SECONDS
        answer = replace(answer, ttl_seconds=0.0 if answer.temporary else min(cap, answer.ttl_seconds))
        if answer.ttl_seconds > 0:
            if answer.question in self._entries:
                self._drop(answer.question)
            self._entries[answer.question] = now + answer.ttl_seconds, answer
            self._octets += _octets(answer)
            while len(self._entries) > self._max_entries or self._octets > self._max_octets:
                self._drop(next(iter(self._entries)))
        return answer

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, question: Question) -> None:
        _, answer = self._entries.pop(question)
        self._octets -= _octets(answer)


def _octets(answer: Answer) -> int:
    """Return about how much memory an answer takes."""
    texts = sum(len(record.host if isinstance(record, MailExchange) else record) for record in answer.records)
    return _ENTRY_OCTETS + len(answer.detail) + texts + _RECORD_OCTETS * len(answer.records)
