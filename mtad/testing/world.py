"""The world for scenario tests: the whole server of `mtad.service.build` over twins, moved by one Clock.

    world = World(Path(self.mktemp()))
    world.host("alice@acme.example")
    line = world.connect()
    world.say(line, b"EHLO outside.example\\r\\n")
    world.advance(5 * DAY)
    world.mail("alice@acme.example")

One Clock, one Random, a memory network, a zone, a store. `crash` ends the process as `kill -9` does; `another` builds a
process on the same store and Clock: the one after a crash, or a second node. Maildirs are real files below `path`.
"""

from dataclasses import replace
from pathlib import Path
from random import Random

from twisted.internet.task import Clock

from mtad.config import Delivery, Hostname, Maildir, Server, Settings, Verification
from mtad.interfaces import Ports
from mtad.model.address import Address
from mtad.model.authentication import AS_THE_SERVER, OwnChecks, Strictness
from mtad.model.event import Event
from mtad.model.holdings import HeldAlias, HeldDomain, HeldKey, HeldMailbox, Holding
from mtad.model.next_hop import TlsLevel
from mtad.model.process import ALONE, Part
from mtad.model.tenant import LocalDelivery
from mtad.service import build
from mtad.testing.clock import MemoryWallClock
from mtad.testing.counters import MemoryCounters
from mtad.testing.directory import MemoryDirectory
from mtad.testing.domain_care import MemoryDomainCare
from mtad.testing.journal import MemoryJournal
from mtad.testing.network import Line, MemoryNetwork
from mtad.testing.offload import MemoryOffload
from mtad.testing.passwords import hash_password, scram_verifier, verify_password
from mtad.testing.process import ProcessClock
from mtad.testing.queue import MemoryDatabase
from mtad.testing.resolver import MemoryResolver
from mtad.testing.spool import MemorySpool
from mtad.testing.store import MemoryStore
from mtad.testing.tls import MemoryTls

HOSTNAME = "mx.test"
MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0


UNCHECKED = Verification(spf=Strictness.OFF, dkim=Strictness.OFF, dmarc=Strictness.OFF)


def settings(path: Path, verification: Verification = UNCHECKED) -> Settings:
    """Return the settings of a world: the defaults, Maildirs below `path`, room for all sessions a test leaves open.

    Who mail is from matters only where a test says so.
    """
    return Settings(
        server=Server(hostname=Hostname(HOSTNAME), state_dir=path, max_connections_per_ip=1_000_000),
        delivery=Delivery(local=Maildir(path=path / "mail")),
        verification=verification,
    )


class World:
    """A server and all around it. The twins are attributes: break them as the scenario asks."""

    def __init__(
        self,
        path: Path,
        *,
        configured: Settings | None = None,
        clock: Clock | None = None,
        store: MemoryStore | None = None,
        directory: MemoryDirectory | None = None,
        zone: dict[str, list[str]] | None = None,
        counters: MemoryCounters | None = None,
        domain_care: MemoryDomainCare | None = None,
        part: Part = ALONE,
    ) -> None:
        self.path = path
        self.settings = configured or settings(path)
        self.clock = clock or Clock()
        self.process = ProcessClock(self.clock)
        self.wall = MemoryWallClock(self.clock)
        self.store = store or MemoryStore(self.clock, self.settings.queue.keep_content)
        self.spool = MemorySpool()
        self.database = MemoryDatabase(self.store, self.process, self.spool)
        self.directory = directory or MemoryDirectory(self.process)
        self.domain_care = domain_care or MemoryDomainCare(self.directory, self.wall.now, self.store)
        self.counters = counters or MemoryCounters(self.process)
        self.network = MemoryNetwork(self.process)
        self.zone = {} if zone is None else zone
        self.resolver = MemoryResolver(self.process, self.zone)
        self.offload = MemoryOffload()
        self.wakeups = self.store.wakeups
        self.journal = MemoryJournal()
        self.tls = MemoryTls()
        self._holdings: dict[str, list[HeldDomain]] = {}
        self._without_scram: set[str] = set()
        (path / "mail").mkdir(parents=True, exist_ok=True)
        self.server = build(self.settings, self._ports(), part)
        self.server.startService()
        self.turn()

    def _ports(self) -> Ports:
        async def nothing() -> None:
            pass

        return Ports(
            clock=self.process,
            wall=self.wall,
            random=Random(7),  # noqa: S311  (chance in tests is the same each time)
            journal=self.journal,
            network=self.network,
            resolver=self.resolver,
            tls=self.tls,
            offload=self.offload,
            directory=self.directory,
            domain_care=self.domain_care,
            key_care=self.domain_care,
            queue=self.database.queue,
            care=self.database.queue,
            nodes=self.database.nodes,
            holds=self.database.holds,
            timeline=self.database.timeline,
            counters=self.counters,
            wakeups=self.wakeups,
            spool=self.spool,
            verify_password=verify_password,
            dependencies={"postgres": self.database},
            exposition=lambda: b"",
            families=list,
            start=nothing,
            stop=nothing,
        )

    def host(
        self,
        *addresses: str,
        organisation: str = "acme",
        verified: bool = True,
        catch_all: str | None = None,
        delivery: LocalDelivery | None = None,
        outbound_tls: TlsLevel | None = None,
        checks: OwnChecks = AS_THE_SERVER,
        check_from: bool = True,
    ) -> None:
        """Let an organisation have these mailboxes, and nothing else in their domains."""
        domains: dict[str, list[HeldMailbox]] = {}
        for address in addresses:
            local_part, _, domain = address.rpartition("@")
            domains.setdefault(domain, []).append(HeldMailbox(local_part))
        held = [
            HeldDomain(
                name,
                verified,
                catch_all=_address(catch_all) if catch_all else None,
                delivery=delivery,
                mailboxes=tuple(mailboxes),
                outbound_tls=outbound_tls,
                checks=checks,
                check_from=check_from,
            )
            for name, mailboxes in domains.items()
        ]
        kept = self._holdings.setdefault(organisation, [])
        kept[:] = [domain for domain in kept if domain.name not in domains] + held
        self._hold(organisation)

    def credential(
        self,
        address: str,
        password: str,
        *,
        organisation: str = "acme",
        send_as: tuple[str, ...] = (),
        enabled: bool = True,
    ) -> None:
        """Let who knows the password log in to a mailbox that `host` made."""
        local_part, _, domain = address.rpartition("@")
        made = HeldMailbox(local_part, hash_password(password), enabled, send_as, scram_verifier(password))
        kept = self._holdings[organisation]
        kept[:] = [
            replace(
                held,
                mailboxes=tuple(made if mailbox.local_part == local_part else mailbox for mailbox in held.mailboxes),
            )
            if held.name == domain
            else held
            for held in kept
        ]
        self._hold(organisation)

    def switch_scram_off(self, organisation: str = "acme") -> None:
        """Let nobody of an organisation log in by SCRAM."""
        self._without_scram.add(organisation)
        self._hold(organisation)

    def alias(self, address: str, *targets: str, organisation: str = "acme") -> None:
        """Let an address of a domain that `host` made stand for others."""
        local_part, _, domain = address.rpartition("@")
        made = HeldAlias(local_part, tuple(map(_address, targets)))
        kept = self._holdings[organisation]
        kept[:] = [replace(held, aliases=(*held.aliases, made)) if held.name == domain else held for held in kept]
        self._hold(organisation)

    def key(self, domain: str, key: HeldKey, *, organisation: str = "acme") -> None:
        """Let a domain that `host` made have a key to sign with."""
        kept = self._holdings[organisation]
        kept[:] = [replace(held, keys=(*held.keys, key)) if held.name == domain else held for held in kept]
        self._hold(organisation)

    def _hold(self, organisation: str) -> None:
        scram = organisation not in self._without_scram
        self.directory.hold(Holding(organisation, None, tuple(self._holdings[organisation]), scram), self.wall.now())

    def connect(self, port: str = "smtp", peer: tuple[str, int] = ("192.0.2.7", 40000)) -> Line:
        """Connect to the receiving port, to `submission` or to `submissions`, and take the greeting."""
        line = self.call(port, peer)
        if port == "submissions":
            line.start_tls()
        self.turn()
        line.take()
        return line

    def call(self, port: str = "smtp", peer: tuple[str, int] = ("192.0.2.7", 40000)) -> Line:
        """Connect, and do nothing more."""
        server = self.settings.server
        addresses = {
            "smtp": server.smtp_addr,
            "submission": server.submission_addr,
            "submissions": server.submissions_addr,
        }
        return self.network.connect(addresses[port], peer)

    def say(self, line: Line, octets: bytes) -> bytes:
        """Send octets and return what they are answered at once."""
        line.take()
        line.send(octets)
        self.turn()
        return line.take()

    def send(
        self, *recipients: str, sender: str = "ann@outside.example", content: bytes = b"Subject: hi\r\n\r\nhello\r\n"
    ) -> bytes:
        """Send one message in a session of its own; return the last reply."""
        line = self.connect()
        commands = [b"EHLO outside.example", b"MAIL FROM:<%s>" % sender.encode()]
        commands += [b"RCPT TO:<%s>" % recipient.encode() for recipient in recipients]
        self.say(line, b"\r\n".join([*commands, b"DATA", b""]))
        return self.say(line, content + b".\r\n").splitlines(keepends=True)[-1:][0] if not line.closed else b""

    def turn(self) -> None:
        """Let everything that is due now happen."""
        for _ in range(100):
            self.clock.advance(0)

    def advance(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass in steps; one of over 9 s would cost the node its lease."""
        end = self.clock.seconds() + seconds
        while (left := end - self.clock.seconds()) > 1e-6:
            self.clock.advance(min(step, left))
        self.turn()

    def mail(self, address: str) -> list[bytes]:
        """Return the messages in a mailbox' new/, oldest first, as they are on disk."""
        local_part, _, domain = address.rpartition("@")
        new = self.path / "mail" / domain / local_part / "new"
        return [file.read_bytes() for file in sorted(new.iterdir())] if new.is_dir() else []

    def story(self, message: int) -> list[Event]:
        """Return what the timeline knows of a message, oldest first, outage or not."""
        return [event for happening in self.store.story(message) for event in happening.events]

    def crash(self) -> None:
        """End this process as `kill -9` does: nothing is said, nothing is written, time goes on."""
        self.process.kill()
        self.database.stop()

    def another(self) -> "World":
        """Return another process on the same store, directory, zone and Clock."""
        return World(
            self.path,
            configured=self.settings,
            clock=self.clock,
            store=self.store,
            directory=self.directory,
            zone=self.zone,
            counters=self.counters,
            domain_care=self.domain_care,
        )


def _address(text: str) -> Address:
    local_part, _, domain = text.rpartition("@")
    return Address(local_part, domain)
