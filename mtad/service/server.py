"""Joins ports and flows into the server: `build(settings, ports)` (DESIGN D2).

Order matters twice. Starting: the stores, then the node, then the flow out, so that the first message accepted has
somewhere to go. Stopping: listeners, then sessions and deliveries in hand, the node's rows, the stores.
"""

from collections.abc import Awaitable
from ipaddress import IPv4Network, IPv6Network

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure
from twisted.web.server import Site

from mtad.config import Settings
from mtad.inbound.routing import RoutingService
from mtad.interfaces import Ports
from mtad.model.errors import Unavailable
from mtad.model.text import shown
from mtad.outbound.housekeeping import Housekeeping
from mtad.outbound.worker import PATIENCE_SECONDS
from mtad.service.flow_in import entrances, means, verification
from mtad.service.flow_out import flow_out
from mtad.web.site import site


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
        self._out = flow_out(settings, ports, routing)
        self._housekeeping = Housekeeping(
            care=ports.care,
            timeline=ports.timeline,
            clock=ports.clock,
            wall=ports.wall,
            journal=ports.journal,
            keep_seconds=settings.timeline.keep,
            quarantine_keep_seconds=settings.queue.quarantine_keep,
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
        verifying = verification(settings, ports)
        verifying.setServiceParent(self)
        common = means(settings, ports, routing, verifying, self._out.queue)
        mail = entrances(settings, ports, common)
        self._mail_ports = [factory for _, factory in mail]
        self._mail_listeners = [ports.network.listen(address, factory) for address, factory in mail]
        self._http_listener = ports.network.listen(settings.server.http_addr, self._site(settings.server.http_ranges))

    def _site(self, networks: "tuple[IPv4Network | IPv6Network, ...]") -> Site:
        return site(
            ready=self._ports.dependencies,
            exposition=self._ports.exposition,
            networks=networks,
            clock=self._ports.clock,
            is_stopping=lambda: self._stopping,
            certificates=self._ports.tls.troubles,
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
        sessions = [port.stop(PATIENCE_SECONDS) for port in self._mail_ports]
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


async def _stopped(port: IListeningPort) -> None:
    done = port.stopListening()
    if done is not None:
        await done
