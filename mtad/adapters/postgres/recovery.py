"""What the writer does before anything else once a connection broke (DESIGN D7).

A request whose answer was lost may still be under way at the server: sent again it would be done twice, forgotten it
would come back. So the session that broke is ended there first; then acceptances that were given up, of which it is
not known whether they were done, are removed. Until both is known to be done nothing else is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.pq.abc import PGresult
from twisted.logger import Logger

from mtad.adapters.postgres.binary import INT8, TEXT, Fragments, array, read_bool, scalar
from mtad.adapters.postgres.libpq import Refused, Request
from mtad.adapters.postgres.statements import (
    ALL_CONTENTS,
    CLEAN,
    END_SESSIONS,
    FORGET,
    FORGOTTEN,
    KEYS,
    LOCK_MESSAGES,
)

_log = Logger()


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An acceptance nobody was told of: messages, those of them that share a content.

    `told` is what FORGOTTEN says of each, `keys` are `key_count` rows of KEYS.
    """

    messages: tuple[int, ...]
    shared: tuple[int, ...]
    told: Fragments
    keys: Fragments
    key_count: int


class Recovery:
    """`sessions` are the names of connections that broke, `forgotten` what must be removed."""

    def __init__(self) -> None:
        self.sessions: set[str] = set()
        self.forgotten: list[Forgotten] = []
        self._under_way: tuple[set[str], list[Forgotten]] | None = None

    @property
    def due(self) -> bool:
        """Whether there is something to recover, or it is on its way."""
        return bool(self.sessions or self.forgotten or self._under_way)

    def take(self) -> "Recovery | None":
        """Return what is to be carried; None while it is on its way already."""
        if self._under_way is not None:
            return None
        self._under_way = (self.sessions, self.forgotten)
        self.sessions, self.forgotten = set(), []
        return self

    def request(self) -> Request:
        """Return statements that end the sessions, wait for that, and then remove what is forgotten."""
        assert self._under_way is not None
        sessions, forgotten = self._under_way
        end: Request = ((END_SESSIONS, (array(TEXT, sorted(sessions)),)),)
        if not forgotten:
            return end
        messages = [message for each in forgotten for message in each.messages]
        shared = [message for each in forgotten for message in each.shared]
        told = FORGOTTEN.parameters([each.told for each in forgotten], len(messages))
        keys = KEYS.parameters([each.keys for each in forgotten], sum(each.key_count for each in forgotten))
        return (
            *end,
            (LOCK_MESSAGES, (array(INT8, messages), array(INT8, shared))),
            (FORGET, (*told, *keys)),
            (CLEAN, (array(INT8, messages), scalar(INT8, ALL_CONTENTS))),
        )

    def done(self, results: Sequence[PGresult]) -> None:
        """Be done, unless some session did not end in time: then all is to be done again."""
        ended = results[0]
        if all(read_bool(ended.get_value(row, 0)) for row in range(ended.ntuples)):
            self._under_way = None
        else:
            self.come_back(tried=True)

    def come_back(self, tried: bool) -> None:
        """Be due again; repeating does no harm."""
        assert self._under_way is not None
        sessions, forgotten = self._under_way
        self._under_way = None
        self.sessions |= sessions
        self.forgotten = forgotten + self.forgotten

    def repeats(self, refusal: Refused) -> bool:
        """Return whether it may be done later."""
        return refusal.for_now

    def refused(self, refusal: Refused) -> None:
        """Give up what this server will never do, lest nothing be written any more."""
        _log.error("The recovery was refused: {refusal}", refusal=refusal)
        self._under_way = None
