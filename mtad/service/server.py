"""Joins ports and flows into the server: `build(settings, ports)` (DESIGN D2).

Order matters twice. Starting: the stores, then the node, then the flow out, so that the first message accepted has
somewhere to go. Stopping: listeners, then sessions and deliveries in hand, the node's rows, the stores. All care ends
beside that, and nothing waits for it: who stops us will not wait for long, and before that the rows must be free.
"""

from collections.abc import Awaitable

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure

from mtad.config import Settings
from mtad.inbound.routing import RoutingService
from mtad.interfaces import Ports
from mtad.model.errors import Unavailable
from mtad.model.process import ALONE, Part
from mtad.model.text import shown
from mtad.outbound.housekeeping import Housekeeping
from mtad.outbound.tasks import in_time
from mtad.outbound.worker import LAST_SECONDS, PATIENCE_SECONDS
from mtad.scheduling.memory import Memory, budget_of
from mtad.service.domain_care import domain_care
from mtad.service.flow_in import backpressure, entrances, means, verification
from mtad.service.flow_out import flow_out
from mtad.service.steering import Steering
from mtad.web.ready import Checks, OwnReadiness
from mtad.web.site import site

LEAST_MEMORY = 64 * 1024 * 1024
"""What a process has for mail at least, however many share the machine."""


class Server(MultiService):
    """The whole server. `started` and what `stopService` returns fire when it is up and when it is down."""

    def __init__(self, settings: Settings, ports: Ports, part: Part) -> None:
        super().__init__()
        self._ports = ports
        self._stopping = False
        self.started: Deferred[None] = Deferred()
        routing = RoutingService(
            directory=ports.directory,
            hostname=settings.server.hostname,
            postmaster=settings.server.postmaster.address if settings.server.postmaster else None,
        )
        memory = Memory(budget_of(max(LEAST_MEMORY, part.share(settings.server.memory))))
        self._out = flow_out(
            settings, ports, routing, memory, lambda: self.steering.notes, lambda on: self.steering.drain(on)
        )
        self._housekeeping = _housekeeping(settings, ports, part)
        self._domain_care = domain_care(settings, ports)
        for service in (
            self._out.membership,
            routing,
            self._out.holding,
            self._out.delivery,
            self._out.worker,
            self._out.queue,
            self._housekeeping,
            self._domain_care,
        ):
            service.setServiceParent(self)
        verifying = verification(settings, ports)
        verifying.setServiceParent(self)
        common = means(settings, ports, routing, verifying, self._out.queue)
        self._backpressure = backpressure(settings, ports, memory, self._out.queue)
        self._backpressure.setServiceParent(self)
        mail = entrances(settings, ports, common, self._backpressure, part)
        self._mail_ports = [factory for _, factory in mail]
        self._mail_listeners = [ports.network.listen(address, factory) for address, factory in mail]
        self.steering = Steering(
            part=part,
            node_name=settings.server.hostname,
            membership=self._out.membership,
            worker=self._out.worker,
            entrances=self._mail_ports,
            listeners=self._mail_listeners,
            journal=ports.journal,
        )
        ports.wakeups.listen(self.steering.heard, lambda: None)
        self.readiness = OwnReadiness(
            Checks(ports.dependencies, ports.clock),
            is_stopping=lambda: self._stopping,
            is_draining=lambda: self.steering.draining,
            certificates=ports.tls.troubles,
        )
        self.families = ports.families
        # The pages of a process among others are its supervisor's.
        self._http_listeners = [] if part.supervised else [self._listen_for_http(settings)]

    def _listen_for_http(self, settings: Settings) -> IListeningPort:
        pages = site(
            readiness=self.readiness.ask,
            exposition=self._ports.exposition,
            networks=settings.server.http_ranges,
            clock=self._ports.clock,
        )
        return self._ports.network.listen(settings.server.http_addr, pages)

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
        for entrance in self._mail_listeners:
            await self._do("listeners", _stopped(entrance))
        care = (self._out.queue, self._out.holding, self._housekeeping, self._domain_care)
        ending = [(service.name, service.stopService()) for service in care]
        sessions = [port.stop(PATIENCE_SECONDS) for port in self._mail_ports]
        deliveries = self._out.worker.stopService()
        for ended in sessions:
            await self._do("sessions", ended)
        await self._do("deliveries", deliveries)
        await self._do("membership", self._out.membership.stopService())
        self._out.delivery.stopService()
        self._backpressure.stopService()
        ends_at = self._ports.clock.seconds() + LAST_SECONDS
        for name, ended in ending:
            await self._do(name, in_time(ended, ends_at - self._ports.clock.seconds(), self._ports.clock))
        for listener in self._http_listeners:
            await self._do("listeners", _stopped(listener))
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


def build(settings: Settings, ports: Ports, part: Part = ALONE) -> Server:
    """Return the server with its sockets bound; raises InvalidInput when an address cannot be listened at.

    As a `part` of several it takes its share of what all have, and has no pages of its own.
    """
    return Server(settings, ports, part)


def _housekeeping(settings: Settings, ports: Ports, part: Part) -> Housekeeping:
    """Return what forgets in time what is kept for a time."""
    return Housekeeping(
        care=ports.care,
        timeline=ports.timeline,
        clock=ports.clock,
        wall=ports.wall,
        journal=ports.journal,
        keep_seconds=settings.timeline.keep,
        quarantine_keep_seconds=settings.queue.quarantine_keep,
        counts=part.number == 1,
    )


async def _stopped(port: IListeningPort) -> None:
    done = port.stopListening()
    if done is not None:
        await done
