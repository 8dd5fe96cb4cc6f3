"""The directory's twin: what organisations hold, in memory and always fresh.

    directory = MemoryDirectory(clock)
    directory.hold(Holding("acme", None, (HeldDomain("acme.example", True, mailboxes=(HeldMailbox("alice"),)),)))

It can be made slow (`delay_seconds`) or be away (`reachable`); `asked` are the addresses and domains asked for.
`destinations` is what the operator wants of domains elsewhere.
"""

from dataclasses import replace
from itertools import count

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from mtad.interfaces import IDirectory
from mtad.model.address import Address
from mtad.model.dkim import KeyState, SigningKey
from mtad.model.errors import Unavailable
from mtad.model.holdings import HeldDomain, HeldKey, HeldMailbox, Holding
from mtad.model.next_hop import TlsLevel, strictest
from mtad.model.tenant import SYSTEM, Alias, Credential, Domain, Entry, Mailbox

LOGIN_KEY = b"the key of logins, in tests known"


@implementer(IDirectory)
class MemoryDirectory:
    """Answers from what it was told to hold."""

    def __init__(self, clock: IReactorTime) -> None:
        self.reachable = True
        self.delay_seconds = 0.0
        self.asked: list[str] = []
        self.destinations: dict[str, TlsLevel] = {}
        self._clock = clock
        self._ids = count(1)
        self._id_of: dict[str, int] = {f"organisation {SYSTEM}": next(self._ids)}
        self._domains: dict[str, Domain] = {}
        self._behind: dict[str, Mailbox | Alias] = {}
        self._held: dict[str, HeldMailbox] = {}
        self._keys: dict[str, tuple[HeldKey, ...]] = {}
        self._without_scram: set[int] = set()

    def hold(self, holding: Holding, now: float = 0.0) -> None:
        """Let an organisation hold this and nothing else; what is new is claimed at `now` (epoch seconds)."""
        organisation = self._id("organisation", holding.organisation)
        (self._without_scram.discard if holding.scram else self._without_scram.add)(organisation)
        claimed = {name: domain.claimed_at for name, domain in self._domains.items()}
        self._domains = {name: kept for name, kept in self._domains.items() if kept.organisation != organisation}
        self._behind = {key: kept for key, kept in self._behind.items() if kept.organisation != organisation}
        for domain in holding.domains:
            self._hold_domain(organisation, domain, claimed.get(domain.name, now))

    async def entry(self, address: Address) -> Entry:
        """Return what is known of an address (IDirectory)."""
        await self._answer(address.key)
        domain = self._domains.get(address.domain)
        behind = None if domain is None else self._behind.get(address.key)
        return Entry(domain, behind, self.destinations.get(address.domain))

    async def domain(self, name: str) -> Domain | None:
        """Return the domain of that A-label if anybody claimed it here (IDirectory)."""
        await self._answer(name)
        return self._domains.get(name)

    async def tls_level(self, destination: str, sender: str | None) -> TlsLevel | None:
        """Return the TLS that mail to a domain elsewhere must have (IDirectory)."""
        await self._answer(destination)
        ours = None if sender is None else self._domains.get(sender)
        return strictest(
            self.destinations.get(destination), ours.outbound_tls if ours is not None and ours.verified else None
        )

    async def credential(self, address: Address) -> Credential | None:
        """Return what the mailbox of that address logs in with (IDirectory)."""
        await self._answer(address.key)
        mailbox = self._behind.get(address.key)
        if not isinstance(mailbox, Mailbox):
            return None
        held = self._held[address.key]
        scram = held.scram if mailbox.organisation not in self._without_scram else None
        return Credential(mailbox, held.password_hash, held.send_as, self._leading_to(mailbox), scram)

    async def login_key(self) -> bytes:
        """Return the key that answers for nobody are made up with (IDirectory)."""
        await self._answer("login key")
        return LOGIN_KEY

    async def organisation(self, name: str) -> int | None:
        """Return the id of the organisation of that name (IDirectory)."""
        await self._answer(name)
        return self._id_of.get(f"organisation {name}")

    async def keys(self, domain: str) -> tuple[SigningKey, ...]:
        """Return the active keys of a verified domain (IDirectory)."""
        await self._answer(domain)
        known = self._domains.get(domain)
        if known is None or not known.verified:
            return ()
        return tuple(
            SigningKey(known.organisation, domain, key.selector, key.algorithm, key.private_key or b"")
            for key in sorted(self._keys[domain], key=lambda key: key.selector)
            if key.state is KeyState.ACTIVE
        )

    def hosted(self) -> list[tuple[Domain, str, tuple[HeldKey, ...]]]:
        """Return all domains by name, each with its organisation's name and its keys."""
        names = {
            number: key.partition(" ")[2] for key, number in self._id_of.items() if key.startswith("organisation ")
        }
        return [
            (domain, names[domain.organisation], self._keys[name]) for name, domain in sorted(self._domains.items())
        ]

    def verify(self, domain: str) -> None:
        """Let a domain be verified."""
        self._domains[domain] = replace(self._domains[domain], verified=True)

    def move(self, domain: str, selector: str, state: KeyState) -> None:
        """Let a key be in a state; what is revoked has no private half."""
        self._keys[domain] = tuple(
            replace(key, state=state, private_key=None if state is KeyState.REVOKED else key.private_key)
            if key.selector == selector
            else key
            for key in self._keys[domain]
        )

    def _leading_to(self, mailbox: Mailbox) -> tuple[Address, ...]:
        aliases = [alias for alias in self._behind.values() if isinstance(alias, Alias)]
        key = mailbox.address.key
        leading = [
            alias.address
            for alias in aliases
            if alias.organisation == mailbox.organisation and key in [target.key for target in alias.targets]
        ]
        return tuple(sorted(leading, key=lambda address: address.plain))

    def _hold_domain(self, organisation: int, domain: HeldDomain, claimed_at: float) -> None:
        self._domains[domain.name] = Domain(
            self._id("domain", domain.name),
            organisation,
            domain.name,
            domain.verified,
            claimed_at,
            domain.catch_all,
            domain.delivery,
            domain.outbound_tls,
            domain.checks,
            domain.check_from,
        )
        self._keys[domain.name] = domain.keys
        for alias in domain.aliases:
            address = Address(alias.local_part, domain.name)
            self._behind[address.key] = Alias(organisation, address, alias.targets)
        for mailbox in domain.mailboxes:
            address = Address(mailbox.local_part, domain.name)
            self._behind[address.key] = Mailbox(
                self._id("mailbox", address.key), organisation, address, mailbox.enabled
            )
            self._held[address.key] = mailbox

    def _id(self, kind: str, name: str) -> int:
        key = f"{kind} {name}"
        if key not in self._id_of:
            self._id_of[key] = next(self._ids)
        return self._id_of[key]

    async def _answer(self, what: str) -> None:
        self.asked.append(what)
        if self.delay_seconds:
            await deferLater(self._clock, self.delay_seconds)
        if not self.reachable:
            raise Unavailable("postgres", "the directory is away")
