"""What can be set: one class a section, with each key's name, type and default in one place (DESIGN §6).

A section checks what its keys must be to each other; `docs/configuration.md` says what each key means, and
tests/quality holds page and example to these classes. Relative paths are as written until `mtad.config.load` resolved
them. Keys whose feature does not exist yet are unknown.
"""

import math
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from mtad.config.kinds import (
    CertificateName,
    DatabaseHost,
    DialAddress,
    EmailAddress,
    Hostname,
    IPNetwork,
    ListenAddress,
    MasterKeys,
    Memory,
    Name,
    NameServer,
    Network,
    Octets,
    Processes,
    RootCertificates,
    Seconds,
    Secret,
    SourceAddress,
)
from mtad.model.authentication import Checks, Strictness
from mtad.model.endpoint import HostPort, parse
from mtad.model.journal import Level
from mtad.model.master_key import MasterKey, parse_master_keys
from mtad.model.next_hop import TlsLevel
from mtad.model.units import duration_text

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Port = Annotated[int, Meta(ge=1, le=65535)]
# Two connections write, one listens, one keeps the lease, one answers everybody else.
PoolSize = Annotated[int, Meta(ge=5, le=1000)]
# RFC 5321 §4.5.3.1.8: at least 100 recipients must be taken; a message's count is stored in 15 bits.
Recipients = Annotated[int, Meta(ge=100, le=32_000)]
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

_KB, _MB, _GB = 1024, 1024**2, 1024**3
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


class Wrong(ValueError):
    """A key of a section cannot be so, because of another one or by itself; `key` is its name."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(what)
        self.key = key


class Section(Struct, frozen=True, forbid_unknown_fields=True):
    """Keys that belong together. Construction checks them; wrong ones raise Wrong."""


def _one_of(section: Section, first: str, second: str) -> None:
    if getattr(section, first) is not None and getattr(section, second) is not None:
        raise Wrong(second, f"expected only one of {first} and {second}")


def _at_least(section: Section, least_seconds: float, *keys: str) -> None:
    for key in keys:
        seconds: float = getattr(section, key)
        if seconds < least_seconds:
            raise Wrong(key, f"expected at least {duration_text(least_seconds)}, got {duration_text(seconds)}")


def _ranges(networks: tuple[Network, ...]) -> tuple[IPNetwork, ...]:
    return tuple(network for name in networks for network in name.ranges)


class RelayNetwork(Section, frozen=True):
    """Machines that submit without a login, as an organisation."""

    network: Network
    organisation: Name


class Server(Section, frozen=True):
    """This machine, what it listens on, and what it takes in one go."""

    hostname: Hostname = Hostname("localhost.localdomain")
    postmaster: EmailAddress | None = None
    smtp_addr: ListenAddress = ListenAddress(":25")
    submission_addr: ListenAddress = ListenAddress(":587")
    submissions_addr: ListenAddress = ListenAddress(":465")
    http_addr: ListenAddress = ListenAddress(":9090")
    http_networks: tuple[Network, ...] = (Network("loopback"), Network("private"))
    max_message_size: Octets = Octets(25 * _MB)
    max_recipients: Recipients = 1000
    max_connections: Count = 10_000
    max_connections_per_ip: Count = 50
    memory: Memory = Memory(512 * _MB)
    processes: Processes | None = None
    greet_pause: Seconds = Seconds(0)
    relay_networks: tuple[RelayNetwork, ...] = ()
    proxy_protocol_networks: tuple[Network, ...] = ()
    xclient_networks: tuple[Network, ...] = ()
    state_dir: Path = Path("state")

    def __post_init__(self) -> None:
        # RFC 5321 §4.5.3.1.7: a limit below 64 KB is none a server may have.
        if not 64 * _KB <= self.max_message_size <= _GB:
            raise Wrong("max_message_size", f"expected 64KB to 1GB, got {self.max_message_size} octets")
        # A client waits for the greeting for five minutes (RFC 5321 §4.5.3.2.1), though few are that patient.
        if self.greet_pause > _MINUTE:
            raise Wrong("greet_pause", f"expected at most 1m, got {duration_text(self.greet_pause)}")
        taken: dict[str, str] = {}
        for key in ("smtp_addr", "submission_addr", "submissions_addr", "http_addr"):
            address: str = getattr(self, key)
            if address in taken:
                raise Wrong(key, f"expected another address than {taken[address]}, got {str(address)!r}")
            if not address.endswith(":0"):
                taken[address] = key
            elif self.processes is not None:
                raise Wrong(key, "expected a port to share beside processes, got one for the system to choose")

    @property
    def http_ranges(self) -> tuple[IPNetwork, ...]:
        """The networks of `http_networks`, words replaced by what they stand for."""
        return _ranges(self.http_networks)

    @property
    def proxy_ranges(self) -> tuple[IPNetwork, ...]:
        """The networks of `proxy_protocol_networks`."""
        return _ranges(self.proxy_protocol_networks)

    @property
    def xclient_ranges(self) -> tuple[IPNetwork, ...]:
        """The networks of `xclient_networks`."""
        return _ranges(self.xclient_networks)


class Database(Section, frozen=True):
    """A PostgreSQL of the operator's. `pool_size` counts all connections of a process."""

    host: DatabaseHost = DatabaseHost("localhost")
    hosts: tuple[DatabaseHost, ...] = ()
    port: Port = 5432
    name: Name = Name("email_platform")
    user: Name = Name("smtp_server")
    password: Secret | None = None
    password_file: Path | None = None
    sslmode: SslMode | None = None
    sslrootcert: RootCertificates | None = None
    pool_size: PoolSize = 8
    connect_timeout: Seconds = Seconds(5)
    statement_timeout: Seconds = Seconds(30)
    tcp_user_timeout: Seconds = Seconds(10)
    migrate: Literal["at_start", "never"] = "at_start"

    def __post_init__(self) -> None:
        _one_of(self, "password", "password_file")
        _at_least(self, 1.0, "connect_timeout", "statement_timeout", "tcp_user_timeout")
        if self.hosts and self.host != "localhost":
            raise Wrong("hosts", "expected only one of host and hosts")
        if self.host.place(self.port).host != self.host:
            raise Wrong("host", f"expected a host without port, which is a key of its own, got {str(self.host)!r}")

    def parameters(self) -> dict[str, str | int]:
        """Return libpq's keywords, the password among them in clear: not for any log.

        With several hosts the first that takes writes is used.
        """
        places = [host.place(self.port) for host in self.hosts or (self.host,)]
        optional = {
            "password": self.password.reveal() if self.password else None,
            "sslmode": self.sslmode,
            "sslrootcert": self.sslrootcert and str(self.sslrootcert),
            "target_session_attrs": "read-write" if self.hosts else None,
        }
        return {
            "host": ",".join(place.host for place in places),
            "port": ",".join(str(place.port) for place in places),
            "dbname": str(self.name),
            "user": str(self.user),
            "connect_timeout": math.ceil(self.connect_timeout),
            "tcp_user_timeout": math.ceil(self.tcp_user_timeout * 1000),
            **{keyword: value for keyword, value in optional.items() if value is not None},
        }


class Redis(Section, frozen=True):
    """A Redis or Valkey of the operator's."""

    addr: DialAddress = DialAddress("localhost:6379")
    username: Name | None = None
    password: Secret | None = None
    password_file: Path | None = None
    db: Annotated[int, Meta(ge=0, le=65535)] = 0
    tls: bool = False

    def __post_init__(self) -> None:
        _one_of(self, "password", "password_file")
        if self.tls and self.addr.startswith("/"):
            raise Wrong("tls", "expected false, since addr is a unix socket")


class Dns(Section, frozen=True):
    """Whom the DNS is asked of. No `servers`: those of the system."""

    servers: tuple[NameServer, ...] = ()
    timeout: Seconds = Seconds(5)
    trust_ad: bool = False

    def __post_init__(self) -> None:
        _at_least(self, 0.1, "timeout")


class Dkim(Section, frozen=True):
    """How the private keys of domains are kept: without master keys in clear."""

    master_key: MasterKeys | None = None
    master_key_file: Path | None = None

    def __post_init__(self) -> None:
        _one_of(self, "master_key", "master_key_file")

    @property
    def keys(self) -> tuple[MasterKey, ...]:
        """The master keys, the first of which writes."""
        return parse_master_keys(self.master_key.reveal()) if self.master_key is not None else ()


class Queue(Section, frozen=True):
    """How many deliveries run at once, when a failed one is tried again, and how long the quarantine keeps mail."""

    workers: Count = 4
    connections_per_worker: Count = 25
    max_retries: Annotated[int, Meta(ge=0, le=30_000)] = 50
    retry_delay: Seconds = Seconds(5 * _MINUTE)
    max_retry_delay: Seconds = Seconds(4 * _HOUR)
    lifetime: Seconds = Seconds(5 * _DAY)
    delay_notice: Seconds = Seconds(4 * _HOUR)
    quarantine_keep: Seconds = Seconds(30 * _DAY)
    keep_content: Seconds = Seconds(0)
    soft_bounce: bool = False

    def __post_init__(self) -> None:
        _at_least(self, 1.0, "retry_delay", "lifetime")
        _at_least(self, _HOUR, "quarantine_keep")
        if self.max_retry_delay < self.retry_delay:
            delay, least = duration_text(self.max_retry_delay), duration_text(self.retry_delay)
            raise Wrong("max_retry_delay", f"expected at least retry_delay, {least}, got {delay}")


class Maildir(Section, frozen=True, tag_field="kind", tag="maildir"):
    """Deliver into Maildirs below `path`."""

    path: Path = Path("state/mail")


class Lmtp(Section, frozen=True, tag_field="kind", tag="lmtp"):
    """Hand over to a mail store by LMTP (RFC 2033)."""

    addr: DialAddress


class Smtp(Section, frozen=True, tag_field="kind", tag="smtp"):
    """Hand over to a mail store by SMTP."""

    addr: DialAddress


class Relay(Section, frozen=True):
    """The smarthost: the one server that all mail to elsewhere goes through. `tls` None means: as `level` says."""

    addr: DialAddress
    username: Name | None = None
    password: Secret | None = None
    password_file: Path | None = None
    tls: TlsLevel | None = None

    def __post_init__(self) -> None:
        _one_of(self, "password", "password_file")
        given = "password" if self.password is not None else "password_file" if self.password_file is not None else None
        if given and self.username is None:
            raise Wrong(given, "expected username beside it")
        if self.username is not None and not given:
            raise Wrong("username", "expected password or password_file beside it")
        if self.tls is TlsLevel.VERIFY and self.addr.startswith("/"):
            raise Wrong("tls", "expected none, since addr is a unix socket, which has no name to verify")
        if self.tls is TlsLevel.NONE and self.username is not None and not self._is_here:
            raise Wrong("tls", "expected verify, since none would send the password in clear to another machine")

    @property
    def level(self) -> TlsLevel:
        """The TLS that is asked for: where a password is at stake and nothing is said, a valid certificate."""
        if self.tls is not None:
            return self.tls
        if self.username is None:
            return TlsLevel.MAY
        return TlsLevel.NONE if self.addr.startswith("/") else TlsLevel.VERIFY

    @property
    def trusts_anybody(self) -> bool:
        """Whether the password goes to whoever answers at the address of another machine."""
        return self.username is not None and self.level is not TlsLevel.VERIFY and not self._is_here

    @property
    def _is_here(self) -> bool:
        """Whether it is on this machine by its address alone; a name may be anybody's."""
        where = parse(self.addr)
        if not isinstance(where, HostPort):
            return True
        try:
            return ip_address(where.host).is_loopback
        except ValueError:
            return where.host.lower() == "localhost"


class Delivery(Section, frozen=True):
    """Where mail goes: `local` what is for mailboxes here, unless its domain says otherwise, the rest to elsewhere.

    Without `relay` that is where the DNS says.
    """

    port: Port = 25
    local: Maildir | Lmtp | Smtp = Maildir()
    relay: Relay | None = None
    allow_private: bool = False
    max_connections_per_destination: Count = 20
    messages_per_connection: Count = 100
    source_addresses: tuple[SourceAddress, ...] = ()


class Certificate(Section, frozen=True):
    """A certificate for peers that ask for one of `names`; without names: for those it has itself."""

    cert_file: Path
    key_file: Path
    names: tuple[CertificateName, ...] = ()


class Tls(Section, frozen=True):
    """The certificates shown to peers. `enabled` None means: when there is one."""

    enabled: bool | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    certificates: tuple[Certificate, ...] = ()

    def __post_init__(self) -> None:
        for given, missing in (("cert_file", "key_file"), ("key_file", "cert_file")):
            if getattr(self, given) and not getattr(self, missing):
                raise Wrong(given, f"expected {missing} beside it")
        if self.enabled and not self.all:
            raise Wrong("enabled", "expected cert_file and key_file beside it, or certificates")

    @property
    def all(self) -> tuple[Certificate, ...]:
        """All certificates; the first is shown to peers that ask for none of the names, or for nothing."""
        if self.cert_file is None or self.key_file is None:
            return self.certificates
        return (Certificate(self.cert_file, self.key_file), *self.certificates)

    @property
    def active(self) -> bool:
        """Whether TLS is offered; then there is a certificate."""
        return bool(self.all) and self.enabled is not False


class Verification(Section, frozen=True):
    """How strictly the identity of received mail is checked where its domain does not say, and who tells the results.

    `authserv_id` None means the hostname. Where one of `trusted_arc_sealers` saw DMARC pass, that counts as a pass.
    """

    spf: Strictness = Strictness.MONITOR
    dkim: Strictness = Strictness.MONITOR
    dmarc: Strictness = Strictness.ENFORCE
    authserv_id: Hostname | None = None
    trusted_arc_sealers: tuple[Hostname, ...] = ()

    @property
    def checks(self) -> Checks:
        """How strictly, as the policies have it."""
        return Checks(self.spf, self.dkim, self.dmarc)


class Timeline(Section, frozen=True):
    """What happened to messages, and how long that is known. Its partitions are days."""

    keep: Seconds = Seconds(30 * _DAY)

    def __post_init__(self) -> None:
        _at_least(self, _DAY, "keep")


class Metrics(Section, frozen=True):
    """What `/metrics` tells."""

    max_domains: Annotated[int, Meta(ge=0, le=100_000)] = 1000


class Logging(Section, frozen=True):
    """The log on standard output. `levels` holds namespaces that have a level of their own."""

    format: Literal["json", "text"] = "json"
    level: Level = Level.INFO
    levels: dict[str, Level] = {}

    @property
    def least(self) -> Level:
        """The lowest level at which anything is logged."""
        return min((self.level, *self.levels.values()), key=list(Level).index)


class Settings(Section, frozen=True):
    """All that is configured. `database` and `redis` are None when the embedded stores are to be used."""

    server: Server = Server()
    database: Database | None = None
    redis: Redis | None = None
    dns: Dns = Dns()
    dkim: Dkim = Dkim()
    queue: Queue = Queue()
    delivery: Delivery = Delivery()
    tls: Tls = Tls()
    verification: Verification = Verification()
    timeline: Timeline = Timeline()
    metrics: Metrics = Metrics()
    logging: Logging = Logging()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed and rarely meant, a line each for whoever operates the server."""
        found = []
        if self.server.postmaster is None:
            found.append("server.postmaster is not set: mail for a postmaster whom no domain has is refused")
        if self.queue.soft_bounce:
            found.append("queue.soft_bounce is true: nothing is refused for good, here or where mail is sent to")
        relay = self.delivery.relay
        if relay is not None and relay.trusts_anybody:
            found.append(
                f"delivery.relay.tls is {relay.level.value}: the password is told to whoever answers there;"
                " verify tells it only to the smarthost"
            )
        return tuple(found)
