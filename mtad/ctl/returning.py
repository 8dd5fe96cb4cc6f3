"""Returning a message to its sender by hand: its rows end as if they were refused for good, with a report.

For the moment the command is a node like any other: it takes the rows that nobody has, and settles them as a worker
does. What a server is delivering at the same time is left to it. When the command is ended in between, the rows are
freed like those of any node that died.
"""

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from mtad.adapters.clock import SystemClock
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


async def give_back(message: int, stores: Stores, settings: Settings, by: str) -> Settlement | None:
    """End what waits of a message unserved and tell its sender; return what was written, None when nothing waits.

    `by` is the command that asked for it.
    """
    clock = SystemClock()
    nodes = PostgresNodes(stores.pool)
    node = await nodes.join(by, clock.now())
    ids = Ids(node, clock)
    directory = PostgresDirectory(stores.pool, stores.reactor, NoNews(), Sealing(settings.dkim.keys))
    postmaster = settings.server.postmaster
    routing = RoutingService(
        directory=directory,
        hostname=settings.server.hostname,
        postmaster=postmaster.address if postmaster else None,
    )
    reporting = Reporting(
        directory=directory,
        route=routing.route,
        sign=Signing(directory=directory, offload=Here(), clock=stores.reactor, wall=clock).sign_report,
        next_id=ids.next,
        hostname=settings.server.hostname,
        lifetime_seconds=settings.queue.lifetime,
        delay_notice_seconds=settings.queue.delay_notice,
    )
    try:
        job = await stores.queue.seize(message, node.owner)
        if job is None:
            return None
        try:
            content = await stores.queue.content(job.content_id)
        except KeyError:
            content = b""
        now = clock.now()
        settlement = await reporting.reported(job, return_to_sender(job, now, by), content, now)
        await stores.queue.settle([settlement], node.owner, now)
    finally:
        await nodes.leave(node.owner, clock.now(), ids.last)
    return settlement
