"""Returning a message to its sender by hand: its rows end as if they were refused for good, with a report.

For the moment the command is a node like any other: it takes the rows that nobody has, and settles them as a worker
does. What a server is delivering at the same time is left to it. When the command is ended in between, the rows are
freed like those of any node that died.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres.audit import Trail
from mtad.adapters.postgres.directory import PostgresDirectory
from mtad.adapters.postgres.nodes import PostgresNodes
from mtad.adapters.sealing import Sealing
from mtad.config import Settings
from mtad.ctl.access import Stores
from mtad.inbound.routing import RoutingService
from mtad.inbound.signing import Signing
from mtad.interfaces import IOffload, IWakeups
from mtad.model.identity import next_id
from mtad.model.job import Node, Settlement
from mtad.outbound.membership import BEAT_SECONDS
from mtad.outbound.reporting import Reporting
from mtad.outbound.settlement import return_to_sender

T = TypeVar("T")


@implementer(IWakeups)
class NoNews:
    """For a process that ends before anything it remembers could grow old."""

    def listen(self, heard: Callable[[str, str], None], lost: Callable[[], None]) -> None:
        """Promise nothing."""


@implementer(IOffload)
class Here:
    """For a process that holds up nobody but itself."""

    def run(self, work: Callable[..., T], *arguments: object) -> "Deferred[T]":
        """Run `work(*arguments)` now."""
        return maybeDeferred(work, *arguments)


class Ids:
    """The ids of a node that issues few; `last` is the one to say when it leaves."""

    def __init__(self, node: Node, clock: SystemClock) -> None:
        self._node = node
        self._clock = clock
        self.last = node.last_id

    def next(self) -> int:
        """Return an id never issued before."""
        self.last = next_id(self._node.slot, self.last, self._clock.now())
        return self.last


class Returning:
    """Returns messages one after the other, as the node it is from `begin` to `end`. `by` is the command's name."""

    def __init__(self, stores: Stores, settings: Settings, by: str) -> None:
        self._queue = stores.queue
        self._pool = stores.pool
        self._by = by
        self._clock = SystemClock()
        self._nodes = PostgresNodes(stores.pool)
        self._beaten_at = 0.0
        directory = PostgresDirectory(stores.pool, stores.reactor, NoNews(), Sealing(settings.dkim.keys))
        postmaster = settings.server.postmaster
        routing = RoutingService(
            directory=directory,
            hostname=settings.server.hostname,
            postmaster=postmaster.address if postmaster else None,
        )
        self._reporting = Reporting(
            directory=directory,
            route=routing.route,
            sign=Signing(directory=directory, offload=Here(), clock=stores.reactor, wall=self._clock).sign_report,
            next_id=lambda: self._ids.next(),
            hostname=settings.server.hostname,
            lifetime_seconds=settings.queue.lifetime,
            delay_notice_seconds=settings.queue.delay_notice,
        )

    async def begin(self) -> None:
        """Become a node."""
        self._node = await self._nodes.join(self._by, self._clock.now())
        self._ids = Ids(self._node, self._clock)
        self._beaten_at = self._clock.boottime()

    async def end(self) -> None:
        """Be a node no more."""
        await self._nodes.leave(self._node.owner, self._clock.now(), self._ids.last)

    async def give_back(self, message: int, rows: Sequence[int], deed: Trail) -> Settlement | None:
        """End what waits of a message unserved and tell its sender; return what was written, None for nothing.

        Only these recipients, by their n; all for none. They count on `deed` just before they end, since that is
        written on another connection: what is ended in between was announced, and is not done.
        """
        await self._beat()
        job = await self._queue.seize(message, self._node.owner, rows)
        if job is None:
            return None
        try:
            content = await self._queue.content(job.content_id)
        except KeyError:
            content = b""
        now = self._clock.now()
        await self._pool.interact(lambda cursor: deed.add(cursor, len(job.targets), now))
        settlement = await self._reporting.reported(job, return_to_sender(job, now, self._by), content, now)
        await self._queue.settle([settlement], self._node.owner, now)
        return settlement

    async def _beat(self) -> None:
        """Stay alive in the eyes of the others, who watch beats."""
        now = self._clock.boottime()
        if now - self._beaten_at >= BEAT_SECONDS:
            self._beaten_at = now
            await self._nodes.beat(self._node.owner, self._ids.last, {})
