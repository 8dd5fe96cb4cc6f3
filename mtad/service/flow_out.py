"""What comes behind the queue, from settings and ports: the node, the worker, and the ways out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mtad.config import Lmtp, Maildir, Relay, Settings
from mtad.inbound.routing import RoutingService
from mtad.inbound.signing import Signing
from mtad.interfaces import Ports
from mtad.model.endpoint import HostPort, parse
from mtad.model.event import Fact
from mtad.model.exchangers import OwnNames
from mtad.model.next_hop import Credentials, NextHop
from mtad.model.tenant import LmtpDelivery, LocalDelivery, MaildirDelivery, SmtpDelivery
from mtad.outbound.books import Books, Room
from mtad.outbound.client import MailClient
from mtad.outbound.delivery import ELSEWHERE, DeliveryService
from mtad.outbound.holding import Holding
from mtad.outbound.lanes import Bounds
from mtad.outbound.local import MaildirWriter
from mtad.outbound.membership import Membership
from mtad.outbound.queue import QueueService
from mtad.outbound.remote import Outward, RemoteDelivery
from mtad.outbound.reporting import Reporting
from mtad.outbound.settlement import Schedule
from mtad.outbound.settler import Settler
from mtad.outbound.worker import Worker
from mtad.scheduling.memory import Memory

DELIVERY_SHARE = 8
"""What is being delivered may take this part of the memory for mail, so that there is always some for what comes."""
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
"""Hosts to listen at that mean every address of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOut:
    """The services behind the queue, in the order they start."""

    membership: Membership
    holding: Holding
    delivery: DeliveryService
    worker: Worker
    queue: QueueService


def flow_out(
    settings: Settings,
    ports: Ports,
    routing: RoutingService,
    memory: Memory,
    notes: Callable[[], Mapping[str, Fact]],
    drained: Callable[[bool], None],
) -> FlowOut:
    """Return the services that carry mail out, not started yet.

    `notes` are shown in the node's row; `drained` is told whether the node drains.
    """
    # The node's row shows the worker, and the worker asks the node for its lease.
    membership = Membership(
        nodes=ports.nodes,
        clock=ports.clock,
        wall=ports.wall,
        journal=ports.journal,
        node_name=settings.server.hostname,
        stats=lambda: {**worker.stats(), **notes()},
        expelled=lambda: worker.forget(),
        drained=drained,
    )
    delivery = _delivery(settings, ports)
    holding = Holding(
        holds=ports.holds, wakeups=ports.wakeups, clock=ports.clock, wall=ports.wall, journal=ports.journal
    )
    room = Room(jobs=_bounds(settings), content_octets=memory.budget // DELIVERY_SHARE)
    worker = Worker(
        queue=ports.queue,
        delivery=delivery,
        settler=Settler(
            queue=ports.queue,
            reporting=_reporting(settings, ports, routing, membership),
            owner=membership.owner,
            clock=ports.clock,
            wall=ports.wall,
            journal=ports.journal,
        ),
        holds=holding,
        membership=membership,
        clock=ports.clock,
        wall=ports.wall,
        journal=ports.journal,
        chance=ports.random.random,
        schedule=_schedule(settings),
        room=room,
        books=Books(room, memory),
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
    return FlowOut(membership=membership, holding=holding, delivery=delivery, worker=worker, queue=queue)


def _schedule(settings: Settings) -> Schedule:
    """Return when what failed for now is tried again."""
    return Schedule(
        retry_delay_seconds=settings.queue.retry_delay,
        max_retry_delay_seconds=settings.queue.max_retry_delay,
        max_retries=settings.queue.max_retries,
        soft_bounce=settings.queue.soft_bounce,
    )


def _reporting(settings: Settings, ports: Ports, routing: RoutingService, membership: Membership) -> Reporting:
    """Return what writes reports to senders, signed as this server's own."""
    signing = Signing(directory=ports.directory, offload=ports.offload, clock=ports.clock, wall=ports.wall)
    return Reporting(
        directory=ports.directory,
        route=routing.route,
        sign=signing.sign_report,
        next_id=membership.next_id,
        hostname=settings.server.hostname,
        lifetime_seconds=settings.queue.lifetime,
        delay_notice_seconds=settings.queue.delay_notice,
    )


def _bounds(settings: Settings) -> Bounds:
    """Return how many jobs may have begun, in all and with one server elsewhere.

    Which server serves a domain here is known only once it is looked up; its jobs are bounded as any lane's.
    """
    relayed = settings.delivery.relay is not None

    def place(destination: str) -> str | None:
        if not destination.startswith(f"{ELSEWHERE}:"):
            return None
        return ELSEWHERE if relayed else destination

    return Bounds(
        slots=settings.queue.workers * settings.queue.connections_per_worker,
        at_place=settings.delivery.max_connections_per_destination,
        place=place,
    )


def _delivery(settings: Settings, ports: Ports) -> DeliveryService:
    local = settings.delivery.local
    client = MailClient(
        network=ports.network,
        tls=ports.tls,
        clock=ports.clock,
        journal=ports.journal,
        hostname=settings.server.hostname,
        max_connections=settings.delivery.max_connections_per_destination,
        messages_per_connection=settings.delivery.messages_per_connection,
    )
    return DeliveryService(
        directory=ports.directory,
        maildirs=MaildirWriter(offload=ports.offload, hostname=settings.server.hostname),
        client=client,
        remote=RemoteDelivery(
            resolver=ports.resolver,
            client=client,
            clock=ports.clock,
            chance=ports.random.random,
            outward=_outward(settings, ports),
        ),
        default=_default(settings),
        maildir_path=local.path if isinstance(local, Maildir) else settings.server.state_dir / "mail",
        clock=ports.clock,
        journal=ports.journal,
    )


def _default(settings: Settings) -> LocalDelivery:
    local = settings.delivery.local
    if isinstance(local, Maildir):
        return MaildirDelivery()
    return LmtpDelivery(local.addr) if isinstance(local, Lmtp) else SmtpDelivery(local.addr)


def _outward(settings: Settings, ports: Ports) -> Outward:
    delivery = settings.delivery
    outward = Outward(
        own=OwnNames(frozenset((settings.server.hostname.lower(),))),
        port=delivery.port,
        relay=None if delivery.relay is None else _smarthost(delivery.relay),
        sources=delivery.source_addresses,
        allow_private=delivery.allow_private,
    )
    listening = parse(settings.server.smtp_addr)
    if not isinstance(listening, HostPort) or listening.port != delivery.port:
        # Another port of our addresses is another server's.
        return outward
    if listening.host in EVERYWHERE:
        own = replace(outward.own, addresses=frozenset(delivery.source_addresses))
        return replace(outward, own=own, is_ours=ports.network.is_ours)
    return replace(outward, own=replace(outward.own, addresses=frozenset((listening.host,))))


def _smarthost(relay: Relay) -> NextHop:
    where = parse(relay.addr)
    credentials = None
    if relay.username is not None and relay.password is not None:
        credentials = Credentials(relay.username, relay.password.reveal())
    host = where.host if isinstance(where, HostPort) else where.path
    return NextHop(host=host, address=relay.addr, tls=relay.level, credentials=credentials)
