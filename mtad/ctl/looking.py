"""What `mtactl domain` looks at the DNS with: a resolver of its own, which asks whom the server asks.

Only the commands that look import this: it takes half a second.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import SystemRandom
from typing import cast

from mtad.adapters.clock import SystemClock
from mtad.adapters.metrics import Journal
from mtad.adapters.network import IReactor as INetworkReactor
from mtad.adapters.network import SocketNetwork
from mtad.adapters.postgres.audit import Trail
from mtad.adapters.postgres.domain_checks import PostgresDomainCare, note
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.session import IReactor
from mtad.adapters.resolver.stub import StubResolver
from mtad.config import Settings
from mtad.ctl.record import on_record
from mtad.domains.look import look, noted
from mtad.domains.records import zone
from mtad.inbound.lookups import Lookups
from mtad.model.dkim import KeyMove
from mtad.model.domain_check import HostedDomain, Look
from mtad.ports import name_servers
from mtad.service.domain_care import own_server


async def looked(
    reactor: IReactor, pool: Pool, settings: Settings, domain: HostedDomain, deed: Trail
) -> tuple[Look, Sequence[KeyMove]]:
    """Look at a domain as the server does, and write what it came to; return that, and the keys it moved.

    What it proved and moved is on record as `deed`.
    """
    care = PostgresDomainCare(pool)
    # The one reactor there is provides both.
    network = SocketNetwork(cast(INetworkReactor, reactor))
    resolver = StubResolver(
        reactor=reactor,
        network=network,
        clock=reactor,
        random=SystemRandom(),
        journal=Journal(),
        servers=name_servers(settings),
    )
    server = own_server(settings, network.is_ours)
    server = replace(server, names=server.names | await care.names())
    clock = SystemClock()
    try:
        found = await look(domain, Lookups(resolver, reactor), server, clock.now())
    finally:
        await resolver.stop()
    now = clock.now()
    result = noted(found, now, 0.5, asked=True)
    proven = int(found.proves)
    return found, await on_record(
        pool, deed, lambda cursor: note(cursor, result, now), lambda moved: proven + len(moved)
    )


def zone_of(domain: HostedDomain, settings: Settings) -> Iterator[str]:
    """Return the records to publish for a domain, as lines of a zone file."""
    return zone(domain, own_server(settings, lambda address: False))
