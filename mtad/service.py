"""Joins ports and flows into the server: `build(settings, ports)` (DESIGN D2).

Order matters twice. Starting: the stores, then the node, then the flow out, so that the first message accepted has
somewhere to go. Stopping: listeners, then sessions and deliveries in hand, the node's rows, the stores.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.web.server import Site

from mtad.config import Maildir, Settings
from mtad.inbound.factory import ReceivingFactory
from mtad.inbound.protocol import Terms
from mtad.inbound.reception import Reception
from mtad.inbound.routing import RoutingService
from mtad.inbound.session import InboundSession
from mtad.interfaces import Ports
from mtad.model.tenant import LmtpDelivery, LocalDelivery, MaildirDelivery
from mtad.outbound.delivery import DeliveryService
from mtad.outbound.housekeeping import Housekeeping
from mtad.outbound.lmtp import LmtpClient
from mtad.outbound.local import MaildirWriter
from mtad.outbound.membership import Membership
from mtad.outbound.queue import QueueService
from mtad.outbound.reporting import Reporting
from mtad.outbound.settlement import Schedule
from mtad.outbound.worker import PATIENCE_SECONDS, Room, Worker
from mtad.web.site import site


@dataclass(frozen=True, slots=True, kw_only=True)
class _FlowOut:
    """The services behind the queue, in the order they start."""

    membership: Membership
    delivery: DeliveryService
    worker: Worker
    queue: QueueService


class Server(MultiService):
    """The whole server. `started` and what `stopService` returns fire when it is up and when it is down."""

    def __init__(self, settings: Settings, ports: Ports) -> None:
        super().__init__()
        self._ports = ports
        self._stopping = False
        self.started: Deferred[None] = Deferred()
        self._out = _flow_out(settings, ports)
        self._housekeeping = Housekeeping(
            care=ports.care,
            timeline=ports.timeline,
            clock=ports.clock,
            wall=ports.wall,
            journal=ports.journal,
            keep_seconds=settings.timeline.keep,
        )
        routing = RoutingService(
            directory=ports.directory,
            hostname=settings.server.hostname,
            postmaster=settings.server.postmaster.address if settings.server.postmaster else None,
        )
        for service in (
            self._out.membership,
            routing,
            self._out.delivery,
            self._out.worker,
            self._out.queue,
            self._housekeeping,
        ):
            service.setServiceParent(self)
        self._receiving = _receiving(settings, ports, routing, self._out.queue)
        self._listeners = [
            ports.network.listen(settings.server.smtp_addr, self._receiving),
            ports.network.listen(settings.server.http_addr, self._site(settings.server.http_ranges)),
        ]

    def _site(self, networks: "tuple[IPv4Network | IPv6Network, ...]") -> Site:
        return site(
            ready=self._ports.dependencies,
            exposition=self._ports.exposition,
            networks=networks,
            clock=self._ports.clock,
            is_stopping=lambda: self._stopping,
        )

    def startService(self) -> None:
        """Open the stores, then start the services; `started` tells."""
        Deferred.fromCoroutine(self._start()).chainDeferred(self.started)

    async def _start(self) -> None:
        await self._ports.start()
        await self._housekeeping.prepare()
        super().startService()
        await self._out.membership.first_joined()
        self._ports.journal.record("service.started")

    def stopService(self) -> Deferred[None]:
        """Stop accepting, finish what is in hand, free the rows, close the stores."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopping = True
        self._ports.journal.record("service.stopping")
        smtp, http = self._listeners
        await _stopped(smtp)
        await _both(self._receiving.stop(PATIENCE_SECONDS), self._out.worker.stopService())
        await self._out.queue.stopService()
        self._out.delivery.stopService()
        await self._housekeeping.stopService()
        await self._out.membership.stopService()
        await _stopped(http)
        await self._ports.stop()
        self._ports.journal.record("service.stopped")


def build(settings: Settings, ports: Ports) -> Server:
    """Return the server with its sockets bound; raises InvalidInput when an address cannot be listened at."""
    return Server(settings, ports)


def _flow_out(settings: Settings, ports: Ports) -> _FlowOut:
    # The node's row shows the worker, and the worker asks the node for its lease.
    membership = Membership(
        nodes=ports.nodes,
        clock=ports.clock,
        wall=ports.wall,
        journal=ports.journal,
        node_name=settings.server.hostname,
        stats=lambda: worker.stats(),
        expelled=lambda: worker.forget(),
    )
    delivery = _delivery(settings, ports, membership)
    jobs = settings.queue.workers * settings.queue.connections_per_worker
    reporting = Reporting(
        directory=ports.directory,
        next_id=membership.next_id,
        hostname=settings.server.hostname,
        lifetime_seconds=settings.queue.lifetime,
    )
    worker = Worker(
        queue=ports.queue,
        delivery=delivery,
        reporting=reporting,
        membership=membership,
        clock=ports.clock,
        wall=ports.wall,
        journal=ports.journal,
        chance=ports.random.random,
        schedule=Schedule(
            retry_delay_seconds=settings.queue.retry_delay,
            max_retry_delay_seconds=settings.queue.max_retry_delay,
            max_retries=settings.queue.max_retries,
        ),
        room=Room(jobs=jobs, jobs_per_lane=max(1, jobs // 2)),
    )
    queue = QueueService(
        queue=ports.queue,
        care=ports.care,
        membership=membership,
        worker=worker,
        clock=ports.clock,
        wall=ports.wall,
        journal=ports.journal,
    )
    return _FlowOut(membership=membership, delivery=delivery, worker=worker, queue=queue)


def _delivery(settings: Settings, ports: Ports, membership: Membership) -> DeliveryService:
    local = settings.delivery.local
    default: LocalDelivery = MaildirDelivery() if isinstance(local, Maildir) else LmtpDelivery(local.addr)
    return DeliveryService(
        directory=ports.directory,
        maildirs=MaildirWriter(offload=ports.offload, hostname=settings.server.hostname),
        lmtp=LmtpClient(
            network=ports.network,
            clock=ports.clock,
            hostname=settings.server.hostname,
            max_connections=settings.delivery.max_connections_per_destination,
            may_send=lambda: membership.good,
        ),
        default=default,
        maildir_path=local.path if isinstance(local, Maildir) else settings.server.state_dir / "mail",
        journal=ports.journal,
    )


def _receiving(settings: Settings, ports: Ports, routing: RoutingService, queue: QueueService) -> ReceivingFactory:
    reception = Reception(
        acceptance=queue, clock=ports.wall, journal=ports.journal, lifetime_seconds=settings.queue.lifetime
    )

    def make_session() -> InboundSession:
        return InboundSession(
            routing=routing,
            reception=reception,
            clock=ports.wall,
            journal=ports.journal,
            hostname=settings.server.hostname,
            max_recipients=settings.server.max_recipients,
        )

    terms = Terms(
        port="smtp",
        hostname=settings.server.hostname,
        max_message_size=settings.server.max_message_size,
        clock=ports.clock,
        journal=ports.journal,
        tls=ports.tls,
    )
    return ReceivingFactory(terms=terms, make_session=make_session)


async def _stopped(port: IListeningPort) -> None:
    done = port.stopListening()
    if done is not None:
        await done


async def _both(first: Deferred[None], second: Deferred[None]) -> None:
    await first
    await second
