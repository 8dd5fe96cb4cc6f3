"""Joins ports and flows into the server: `build(settings, ports)` (DESIGN D2).

Order matters twice. Starting: the stores, then the node, then the flow out, so that the first message accepted has
somewhere to go. Stopping: listeners, then sessions and deliveries in hand, the node's rows, the stores.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure
from twisted.web.server import Site

from mtad.config import Lmtp, Maildir, Relay, Settings
from mtad.inbound.authentication import NetworkChecker, PasswordChecker
from mtad.inbound.dialogue import Terms
from mtad.inbound.factory import ReceivingFactory, SubmissionFactory
from mtad.inbound.reception import Reception
from mtad.inbound.routing import RoutingService
from mtad.inbound.session import InboundSession, Means
from mtad.inbound.signing import Signing
from mtad.inbound.submission import SubmissionSession, signed_by
from mtad.interfaces import Ports
from mtad.model.endpoint import HostPort, parse
from mtad.model.errors import Unavailable
from mtad.model.exchangers import OwnNames
from mtad.model.next_hop import Credentials, NextHop
from mtad.model.tenant import LmtpDelivery, LocalDelivery, MaildirDelivery, SmtpDelivery, Submitter
from mtad.model.text import shown
from mtad.outbound.client import MailClient
from mtad.outbound.delivery import DeliveryService
from mtad.outbound.housekeeping import Housekeeping
from mtad.outbound.local import MaildirWriter
from mtad.outbound.membership import Membership
from mtad.outbound.queue import QueueService
from mtad.outbound.remote import Outward, RemoteDelivery
from mtad.outbound.reporting import Reporting
from mtad.outbound.settlement import Schedule
from mtad.outbound.worker import PATIENCE_SECONDS, Room, Worker
from mtad.policy.submission import RelayNetwork, may_log_in_clear, relayed_for
from mtad.smtp.sasl import Login
from mtad.web.site import site

EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
"""Hosts to listen at that mean every address of this machine."""


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
        routing = RoutingService(
            directory=ports.directory,
            hostname=settings.server.hostname,
            postmaster=settings.server.postmaster.address if settings.server.postmaster else None,
        )
        self._out = _flow_out(settings, ports, routing)
        self._housekeeping = Housekeeping(
            care=ports.care,
            timeline=ports.timeline,
            clock=ports.clock,
            wall=ports.wall,
            journal=ports.journal,
            keep_seconds=settings.timeline.keep,
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
        means = _means(settings, ports, routing, self._out.queue)
        self._receiving = _receiving(settings, ports, means)
        self._submission = _submission(settings, ports, means)
        self._mail_listeners = [
            ports.network.listen(settings.server.smtp_addr, self._receiving),
            ports.network.listen(settings.server.submission_addr, self._submission),
        ]
        self._http_listener = ports.network.listen(settings.server.http_addr, self._site(settings.server.http_ranges))

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
        for listener in self._mail_listeners:
            await self._do("listeners", _stopped(listener))
        sessions = [port.stop(PATIENCE_SECONDS) for port in (self._receiving, self._submission)]
        deliveries = self._out.worker.stopService()
        for ended in sessions:
            await self._do("sessions", ended)
        await self._do("deliveries", deliveries)
        await self._do("queue", self._out.queue.stopService())
        self._out.delivery.stopService()
        await self._do("housekeeping", self._housekeeping.stopService())
        await self._do("membership", self._out.membership.stopService())
        await self._do("listeners", _stopped(self._http_listener))
        await self._do("stores", self._ports.stop())
        self._ports.journal.record("service.stopped")

    async def _do(self, step: str, work: Awaitable[None]) -> None:
        """Take one step of the stop; its trouble is told, and keeps no other from being taken."""
        try:
            await work
        except Unavailable as trouble:
            self._ports.journal.record(
                "store.unavailable", task=f"stop {step}", dependency=trouble.dependency, reason=shown(trouble.reason)
            )
        except Exception:
            self._ports.journal.record("task.surprise", task=f"stop {step}", failure=Failure().getTraceback())


def build(settings: Settings, ports: Ports) -> Server:
    """Return the server with its sockets bound; raises InvalidInput when an address cannot be listened at."""
    return Server(settings, ports)


def _flow_out(settings: Settings, ports: Ports, routing: RoutingService) -> _FlowOut:
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
        route=routing.route,
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
        room=Room(jobs=jobs),
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
    client = MailClient(
        network=ports.network,
        tls=ports.tls,
        clock=ports.clock,
        journal=ports.journal,
        hostname=settings.server.hostname,
        may_send=lambda: membership.good,
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


def _means(settings: Settings, ports: Ports, routing: RoutingService, queue: QueueService) -> Means:
    reception = Reception(
        acceptance=queue,
        clock=ports.wall,
        journal=ports.journal,
        hostname=settings.server.hostname,
        lifetime_seconds=settings.queue.lifetime,
        sign=signed_by(Signing(directory=ports.directory, offload=ports.offload, clock=ports.clock, wall=ports.wall)),
    )
    return Means(
        routing=routing,
        reception=reception,
        clock=ports.wall,
        journal=ports.journal,
        hostname=settings.server.hostname,
        max_recipients=settings.server.max_recipients,
    )


def _terms(settings: Settings, ports: Ports) -> Terms:
    return Terms(
        port="smtp",
        hostname=settings.server.hostname,
        max_message_size=settings.server.max_message_size,
        clock=ports.clock,
        journal=ports.journal,
        tls=ports.tls,
    )


def _receiving(settings: Settings, ports: Ports, means: Means) -> ReceivingFactory:
    return ReceivingFactory(terms=_terms(settings, ports), make_session=lambda: InboundSession(means))


def _submission(settings: Settings, ports: Ports, means: Means) -> SubmissionFactory:
    networks = tuple(
        RelayNetwork(network, entry.organisation)
        for entry in settings.server.relay_networks
        for network in entry.network.ranges
    )

    def login(host: str) -> Login:
        return Login(
            required=relayed_for(host, networks) is None,
            needs_tls=not may_log_in_clear(host, settings.tls.enabled is False),
        )

    def make_session(submitter: Submitter) -> SubmissionSession:
        return SubmissionSession(means, submitter, ports.directory)

    passwords = PasswordChecker(
        directory=ports.directory,
        offload=ports.offload,
        clock=ports.clock,
        verify=ports.verify_password,
        key=ports.random.randbytes(32),
    )
    return SubmissionFactory(
        terms=replace(_terms(settings, ports), port="submission", login=login),
        make_session=make_session,
        checkers=[passwords, NetworkChecker(directory=ports.directory, networks=networks)],
    )


async def _stopped(port: IListeningPort) -> None:
    done = port.stopListening()
    if done is not None:
        await done
