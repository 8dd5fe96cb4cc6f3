"""Large acceptances on their way into the database: chunk by chunk, one at a time (DESIGN D6).

Each is one transaction like any other, and nothing of it is there before its end: its chunks go first, each when the
one before it has left, then what makes it a message, under the fence of its node. So the node's row is not locked for
as long as a slow client takes, and where the fence does not hold the chunks are taken back in the same transaction.

A large acceptance waits for others of its kind, for the peer waits ten minutes for an answer (RFC 5321 §4.5.3.2.6);
only from its turn on it has the time of any acceptance, and some more for its size.
"""

from collections.abc import Iterator, Sequence

from psycopg.pq.abc import PGresult
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mtad.adapters.postgres.accepting import ACCEPT_SECONDS, Accepting, AcceptLine, envelopes
from mtad.adapters.postgres.binary import INT4, INT8, array, chunk_array, scalar
from mtad.adapters.postgres.libpq import Broken, Step
from mtad.adapters.postgres.recovery import Recovery
from mtad.adapters.postgres.statements import ACCEPT, CHUNK_PLACES, STORE_CHUNK, TAKE_BACK
from mtad.model.content import blocks
from mtad.model.errors import Unavailable
from mtad.model.job import CHUNK_OCTETS

LINE_SECONDS = 300.0
LEAST_OCTETS_A_SECOND = 1024 * 1024


class LargeAcceptLine(AcceptLine):
    """Acceptances that are streamed; one that is given up while it is ends its connection."""

    def __init__(self, recovery: Recovery, clock: IReactorTime) -> None:
        super().__init__(recovery, clock, count=1, width=1)
        self._timers: dict[Accepting, IDelayedCall] = {}
        self._begun: set[Accepting] = set()

    def request(self, items: Sequence[Accepting]) -> Iterator[Step]:
        """Return the chunks, the ACCEPT, and what takes the chunks back when that did nothing."""
        (item,) = items
        self._begin(item)
        return self._steps(item)

    def done(self, items: Sequence[Accepting], results: list[PGresult]) -> None:
        """Tell who waits; the ACCEPT's result is the last but one."""
        super().done(items, results[-2:])

    def fail_all(self, trouble: Unavailable) -> None:
        """Fail all that waits, and watch no age any more."""
        super().fail_all(trouble)
        for item in list(self._timers):
            self._unwatch(item)

    def _watch(self, item: Accepting) -> None:
        why = f"no turn for {LINE_SECONDS:g} s"
        self._timers[item] = self._clock.callLater(LINE_SECONDS, self._abandon, item, why)

    def _unwatch(self, item: Accepting) -> None:
        self._begun.discard(item)
        timer = self._timers.pop(item, None)
        if timer is not None and timer.active():
            timer.cancel()

    def _begin(self, item: Accepting) -> None:
        """Count from its first turn on what an acceptance may take, whatever breaks meanwhile."""
        if item in self._begun or item.answered:
            return
        self._unwatch(item)
        self._begun.add(item)
        seconds = ACCEPT_SECONDS + item.octets / LEAST_OCTETS_A_SECOND
        self._timers[item] = self._clock.callLater(seconds, self._abandon, item, f"no answer for {seconds:.0f} s")

    def _steps(self, item: Accepting) -> Iterator[Step]:
        content_id = scalar(INT8, item.content_id)
        try:
            for n, chunk in enumerate(blocks(item.content, CHUNK_OCTETS)):
                if item.answered:
                    raise Broken("an acceptance was given up on its way")
                yield STORE_CHUNK, (content_id, scalar(INT4, n), chunk)
        except Unavailable as trouble:
            self._fail(item, trouble)
            raise Broken(str(trouble)) from trouble
        nothing = (*CHUNK_PLACES.parameters((), 0), chunk_array(()))
        yield ACCEPT, (scalar(INT8, item.owner), *envelopes((item,)), *nothing)
        yield TAKE_BACK, (content_id, array(INT8, [message for message, *_ in item.accepted]))
