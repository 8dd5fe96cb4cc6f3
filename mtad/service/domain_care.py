"""The care of hosted domains, from settings and ports."""

from collections.abc import Callable

from mtad.config import Settings
from mtad.domains.dns_check import Server
from mtad.domains.service import DomainCare, Stores
from mtad.inbound.lookups import Lookups
from mtad.interfaces import Ports
from mtad.outbound.tasks import Tasks


def domain_care(settings: Settings, ports: Ports) -> DomainCare:
    """Return what looks after hosted domains, not started yet."""
    return DomainCare(
        stores=Stores(domains=ports.domain_care, keys=ports.key_care),
        lookups=lambda: Lookups(ports.resolver, ports.clock),
        server=own_server(settings, ports.network.is_ours),
        wall=ports.wall,
        journal=ports.journal,
        chance=ports.random.random,
        rounds=Tasks(ports.clock, ports.journal),
        lifetime_seconds=settings.queue.lifetime,
    )


def own_server(settings: Settings, is_ours: Callable[[str], bool]) -> Server:
    """Return what the settings make of this server; `is_ours` tells the addresses of this machine."""
    hostname = settings.server.hostname.lower()
    return Server(
        hostname=hostname,
        names=frozenset((hostname,)),
        sources=settings.delivery.source_addresses,
        smarthost=settings.delivery.relay is not None,
        is_ours=is_ours,
    )
