"""The settler: writes what jobs came to, with the reports their senders are owed, until it is written.

    the store is away, or the lease is not good    the same again a second later, as long as it takes
    the spool lost the content                     again, with a report that does without
    anything nobody expected                       without reports, and with its text escaped
    that as well                                   the rows are held, for somebody to look at

What was delivered must not be delivered again: rows that cannot even be held stay in hand, and are nobody else's.
"""

from collections.abc import Callable, Iterator

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from mtad.interfaces import IJournal, IQueue, IWallClock
from mtad.model.content import Content
from mtad.model.errors import Unavailable
from mtad.model.identity import print_id
from mtad.model.job import Disposal, Job, Settlement
from mtad.model.text import shown
from mtad.outbound.reporting import Reporting
from mtad.outbound.settlement import UNWRITABLE, escaped, hold

SETTLE_AGAIN_SECONDS = 1.0


class Settler:
    """Writes settlements for the node that `owner` says; the claims in them say whether they still count."""

    def __init__(
        self,
        *,
        queue: IQueue,
        reporting: Reporting,
        owner: Callable[[], int],
        clock: IReactorTime,
        wall: IWallClock,
        journal: IJournal,
    ) -> None:
        self._queue = queue
        self._reporting = reporting
        self._owner = owner
        self._clock = clock
        self._wall = wall
        self._journal = journal
        self._abandoned = False

    def abandon(self) -> None:
        """Repeat nothing any more: this process ends."""
        self._abandoned = True

    async def settle(self, job: Job, settlement: Settlement, content: Content) -> bool:
        """Write what a job came to; return whether its rows are done with. `content` is the job's."""
        now = self._wall.now()
        for form in _forms(job, settlement, now):
            try:
                return await self._write(job, form, content if form is settlement else None, now)
            except Exception:
                failure = shown(Failure().getTraceback(), 4000)
                self._journal.record("settlement.surprise", id=print_id(job.message), failure=failure)
        return False

    async def _write(self, job: Job, plain: Settlement, content: Content | None, now: float) -> bool:
        """Write a settlement, reported when there is a content, over any outage; raise what nobody expected.

        Return whether it was written: not when it was abandoned.
        """
        settlement = plain
        while not self._abandoned:
            try:
                if content is not None:
                    settlement = await self._reporting.reported(job, settlement, content, now)
                await self._queue.settle([settlement], self._owner(), now)
            except Unavailable as trouble:
                self._journal.record("store.unavailable", dependency=trouble.dependency, reason=shown(trouble.reason))
                if trouble.dependency == "disk" and content is not None:
                    # What the spool lost it will not find again; the report does without.
                    settlement, content = plain, b""
                await deferLater(self._clock, SETTLE_AGAIN_SECONDS)
            else:
                self._tell(job, settlement)
                return True
        return False

    def _tell(self, job: Job, settlement: Settlement) -> None:
        """Record what was written: which recipients are held, which are given up, and what senders are told."""
        self._journal.record("queue.settled", count=len(settlement.results))
        for target, result in zip(job.targets, settlement.results, strict=True):
            if result.disposal is Disposal.HELD or result.undelivered:
                self._journal.record(
                    "delivery.held" if result.disposal is Disposal.HELD else "delivery.given_up",
                    id=print_id(job.message),
                    n=target.recipient.n,
                    recipient=str(target.recipient.address),
                    detail=result.outcome.detail,
                )
        for told in settlement.reports:
            self._journal.record(
                "report.queued",
                id=print_id(told.report.content_id),
                about=print_id(settlement.message),
                action=told.action.value,
            )


def _forms(job: Job, settlement: Settlement, now: float) -> Iterator[Settlement]:
    """Yield what to write, then what to write instead; each is made only when the one before was refused."""
    yield settlement
    yield escaped(settlement)
    yield hold(job, UNWRITABLE, now)
