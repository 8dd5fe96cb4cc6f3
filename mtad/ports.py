"""Makes the real ports: from Settings and a reactor to Ports (DESIGN §4).

The one place that knows every adapter. `open_stores` is the blocking part, done before the reactor runs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random, SystemRandom
from socket import socket

from mtad.adapters.clock import SystemClock
from mtad.adapters.counters import RedisCounters
from mtad.adapters.metrics import Journal
from mtad.adapters.network import IReactor as INetworkReactor
from mtad.adapters.network import SocketNetwork
from mtad.adapters.offload import IReactor as IOffloadReactor
from mtad.adapters.offload import ProcessOffload
from mtad.adapters.passwords import verify_password
from mtad.adapters.postgres.directory import PostgresDirectory
from mtad.adapters.postgres.domain_checks import PostgresDomainCare
from mtad.adapters.postgres.embedded import EmbeddedStores, start
from mtad.adapters.postgres.holds import PostgresHolds
from mtad.adapters.postgres.key_care import PostgresKeyCare
from mtad.adapters.postgres.migrate import check, migrate
from mtad.adapters.postgres.nodes import STEP_SECONDS, PostgresNodes
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.queue import PostgresQueue
from mtad.adapters.postgres.session import IReactor as IPostgresReactor
from mtad.adapters.postgres.timeline import PostgresTimeline
from mtad.adapters.postgres.wakeups import PostgresWakeups
from mtad.adapters.postgres.writer import Writer
from mtad.adapters.redis import Redis, RedisServer
from mtad.adapters.resolver.servers import system_servers
from mtad.adapters.resolver.stub import Servers, StubResolver
from mtad.adapters.sealing import Sealing
from mtad.adapters.spool import DiskSpool, max_files
from mtad.adapters.tls.certificate import CertificateFiles
from mtad.adapters.tls.certificate import load as load_certificate
from mtad.adapters.tls.certificates import ServerCertificates
from mtad.adapters.tls.contexts import TlsContexts
from mtad.config import Database, Maildir, Settings
from mtad.config import Redis as RedisSettings
from mtad.interfaces import IJournal, IWallClock, Ports
from mtad.model.errors import InvalidInput

WRITER_CONNECTIONS = 2
LISTENING_CONNECTIONS = 1
NODES_CONNECTIONS = 1
# Two batches of Maildir writes, a large one, two passwords.
OFFLOAD_THREADS = 5


class IReactor(INetworkReactor, IPostgresReactor, IOffloadReactor):
    """All that the adapters ask of a reactor."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Where PostgreSQL (libpq's keywords, a password among them) and Redis are; embedded ones until `close`."""

    database: Mapping[str, str | int]
    redis: RedisServer
    embedded: EmbeddedStores | None

    def close(self) -> None:
        """Use the stores no more; embedded ones stop when nobody does."""
        if self.embedded is not None:
            self.embedded.close()


def open_stores(settings: Settings, say: Callable[[str], None]) -> Stores:
    """Start what is embedded and bring the schema up to date, blocking; `say` hears of slow steps.

    A database of the operator's comes first: when it refuses, nothing was started. Raises InvalidInput or Unavailable
    with one line for people.
    """
    configured = settings.database
    if configured is not None:
        database = configured.parameters()
        (migrate if configured.migrate == "at_start" else check)(database)
        return Stores(database, *_redis(settings, say))
    embedded = start(settings.server.state_dir, say, redis=settings.redis is None)
    try:
        migrate(embedded.database)
    except BaseException:
        embedded.close()
        raise
    redis = _configured_redis(settings.redis) if settings.redis else RedisServer(embedded.redis_socket)
    return Stores(dict(embedded.database), redis, embedded)


def _redis(settings: Settings, say: Callable[[str], None]) -> tuple[RedisServer, EmbeddedStores | None]:
    """Return where Redis is when the database is the operator's, and what was started for it."""
    if settings.redis:
        return _configured_redis(settings.redis), None
    embedded = start(settings.server.state_dir, say, database=False)
    return RedisServer(embedded.redis_socket), embedded


def _configured_redis(configured: RedisSettings) -> RedisServer:
    return RedisServer(
        addr=configured.addr,
        username=configured.username,
        password=configured.password.reveal() if configured.password else None,
        db=configured.db,
        tls=configured.tls,
    )


def check_files(settings: Settings) -> None:
    """Raise InvalidInput for files that `make` would raise it for; nothing is made."""
    for each in settings.tls.all if settings.tls.active else ():
        load_certificate(CertificateFiles(each.cert_file, each.key_file, each.names))


def make(
    settings: Settings,
    reactor: IReactor,
    stores: Stores,
    inherited: Mapping[str, Sequence[socket]] | None = None,
) -> Ports:
    """Return the real ports; nothing is opened before their `start`. `inherited` sockets are listened at, not bound.

    Raises InvalidInput for a bad certificate, and for directories that cannot be made.
    """
    _make_mail_directory(settings)
    spool = DiskSpool(settings.server.state_dir / "spool", max_files())
    spool.open()
    journal = Journal(least=settings.logging.least, max_domains=settings.metrics.max_domains)
    network = SocketNetwork(reactor, inherited)
    offload = ProcessOffload(reactor, OFFLOAD_THREADS)
    random = SystemRandom()
    connections = _connections(settings, reactor, stores, journal, random)
    pool = connections.pool
    redis = Redis(server=stores.redis, network=network, clock=reactor, random=random)
    sealing = _sealing(settings, journal)
    resolver = StubResolver(
        reactor=reactor, network=network, clock=reactor, random=random, journal=journal, servers=name_servers(settings)
    )
    queue = PostgresQueue(connections.writer, pool, spool, keep_content_seconds=settings.queue.keep_content)
    wall = SystemClock()
    certificates = _certificates(settings, reactor, wall, journal)
    opened = _Opened(stores, offload, redis, connections, resolver, certificates)
    return Ports(
        clock=reactor,
        wall=wall,
        random=random,
        journal=journal,
        network=network,
        resolver=resolver,
        tls=TlsContexts(certificates),
        offload=offload,
        directory=PostgresDirectory(pool, reactor, connections.wakeups, sealing),
        domain_care=PostgresDomainCare(pool),
        key_care=PostgresKeyCare(pool, sealing),
        queue=queue,
        care=queue,
        nodes=PostgresNodes(connections.leases),
        holds=PostgresHolds(pool),
        timeline=PostgresTimeline(pool),
        counters=RedisCounters(redis),
        wakeups=connections.wakeups,
        spool=spool,
        verify_password=verify_password,
        dependencies={"postgres": pool, "redis": redis},
        exposition=journal.exposition,
        families=journal.families,
        start=opened.open,
        stop=opened.close,
    )


@dataclass(frozen=True, slots=True)
class _Connections:
    """A process' connections to PostgreSQL, by what goes over them."""

    pool: Pool
    leases: Pool
    writer: Writer
    wakeups: PostgresWakeups

    async def open(self) -> None:
        """Make them; nothing is heard before there is somebody to ask."""
        await self.pool.start()
        await self.leases.start()
        await self.writer.start()
        self.wakeups.start()

    async def close(self) -> None:
        """Let go of them, what hears of news first."""
        await self.wakeups.stop()
        await self.writer.stop()
        await self.leases.stop()
        await self.pool.stop()


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is opened before the first message and closed after the last."""

    stores: Stores
    offload: ProcessOffload
    redis: Redis
    connections: _Connections
    resolver: StubResolver
    certificates: ServerCertificates | None

    async def open(self) -> None:
        """Open all of it; the stores are open already."""
        self.offload.startService()
        self.redis.startService()
        await self.redis.settled()
        await self.connections.open()
        if self.certificates is not None:
            self.certificates.start()

    async def close(self) -> None:
        """Close all of it, the stores last."""
        if self.certificates is not None:
            self.certificates.stop()
        await self.resolver.stop()
        await self.connections.close()
        await self.redis.stopService()
        await self.offload.stopService()
        self.stores.close()


def _certificates(
    settings: Settings, reactor: IReactor, wall: IWallClock, journal: IJournal
) -> ServerCertificates | None:
    """Return what is shown to peers, None when TLS is off."""
    if not settings.tls.active:
        journal.record("tls.certificates", broken=0, expiry_seconds=math.inf)
        return None
    files = [CertificateFiles(each.cert_file, each.key_file, each.names) for each in settings.tls.all]
    return ServerCertificates(files, clock=reactor, wall=wall, journal=journal)


def _sealing(settings: Settings, journal: IJournal) -> Sealing:
    """Return what private keys are sealed with where they are stored."""
    if not settings.dkim.keys:
        journal.record("dkim.keys_in_clear")
    return Sealing(settings.dkim.keys)


def name_servers(settings: Settings) -> Servers:
    """Return whom the DNS is asked of."""
    places = tuple(server.place for server in settings.dns.servers) or system_servers()
    return Servers(places, settings.dns.timeout, settings.dns.trust_ad)


def _make_mail_directory(settings: Settings) -> None:
    """Make the Maildirs' directory where it is below ours; elsewhere it is the operator's, and perhaps a disk."""
    local = settings.delivery.local
    state = settings.server.state_dir
    if isinstance(local, Maildir) and local.path.is_relative_to(state):
        try:
            local.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(str(local.path), f"cannot be made: {error.strerror}") from error


def _connections(
    settings: Settings, reactor: IReactor, stores: Stores, journal: Journal, random: Random
) -> _Connections:
    """Return who shares the connections of a process: `database.pool_size` in all."""
    database = settings.database or Database()
    pool = Pool(
        reactor,
        stores.database,
        database.pool_size - WRITER_CONNECTIONS - LISTENING_CONNECTIONS - NODES_CONNECTIONS,
        connect_timeout_seconds=database.connect_timeout,
        statement_timeout_seconds=database.statement_timeout,
    )
    leases = Pool(
        reactor,
        stores.database,
        NODES_CONNECTIONS,
        name="mtad lease",
        connect_timeout_seconds=min(database.connect_timeout, STEP_SECONDS),
        statement_timeout_seconds=min(database.statement_timeout, STEP_SECONDS),
        wait_timeout_seconds=STEP_SECONDS,
    )
    writer = Writer(
        reactor,
        stores.database,
        connections=WRITER_CONNECTIONS,
        random=random,
        connect_timeout_seconds=database.connect_timeout,
        statement_timeout_seconds=database.statement_timeout,
    )
    return _Connections(pool, leases, writer, PostgresWakeups(reactor, stores.database, journal))
