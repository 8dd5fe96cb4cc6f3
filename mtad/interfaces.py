"""The ports: all that a flow may ask of the world outside (DESIGN §4).

Each method is one transaction; its docstring says what is promised once it returned. A port that cannot do its part
raises `mtad.model.errors.Unavailable`. Every port has a real adapter in `mtad.adapters` and a twin in
`mtad.testing`, and both pass the same class of tests in `tests/contract`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol
from zope.interface import Interface

from mtad.model.address import Address
from mtad.model.answer import Answer, Question
from mtad.model.content import Content
from mtad.model.dkim import KeyMove, SigningKey
from mtad.model.domain_check import HostedDomain, Noted, Sealed, Subject
from mtad.model.domain_check import Status as CheckStatus
from mtad.model.event import Fact, Happening
from mtad.model.hold import Hold
from mtad.model.job import Acceptance, Job, Lane, Node, Ready, Row, Settlement, Status, Waiting
from mtad.model.next_hop import TlsLevel
from mtad.model.process import Standing
from mtad.model.samples import Family
from mtad.model.tenant import Credential, Domain, Entry

T = TypeVar("T")


class IDirectory(Interface):
    """Who is hosted here."""

    async def entry(address: Address) -> Entry:
        """Return what is known of an address; as fresh as the invalidations that reached this process."""

    async def domain(name: str) -> Domain | None:
        """Return the domain of that A-label if anybody claimed it here."""

    async def credential(address: Address) -> Credential | None:
        """Return what the mailbox of that address logs in with, as fresh as `entry`; None when there is none."""

    async def login_key() -> bytes:
        """Return the secret key, always the same and for all processes, that verifiers of nobody are made up with."""

    async def organisation(name: str) -> int | None:
        """Return the id of the organisation of that name, at most a minute old; None when there is none."""

    async def tls_level(destination: str, sender: str | None) -> TlsLevel | None:
        """Return the TLS that mail to a domain elsewhere must have, as fresh as `entry`; None when nobody cares.

        The operator may say it of the destination, and of a domain here whose mail it is: `sender` is the domain of the
        reverse-path, None without one. The stricter of both holds.
        """

    async def keys(domain: str) -> tuple[SigningKey, ...]:
        """Return the active keys of a verified domain by selector, as fresh as `entry`; none for any other.

        Raises Unavailable also where one of them is sealed with a master key that is not there.
        """


class IQueue(Interface):
    """The durable queue. `owner` is a node's number: a call for a node without its row changes nothing."""

    async def accept(acceptance: Acceptance, owner: int) -> None:
        """Write content, messages, rows (owned by `owner`, delivering, claim 1) and events in one synchronous commit.

        Rows of recipients that are quarantined are nobody's, and kept since the message was received.
        Once it returned, nothing short of the loss of the disk loses the message. It may be repeated. Raises
        LeaseLost when the owner has no node, Unacceptable for a message the database refuses for its data, Unavailable
        when it refuses one for anything else, and NoAnswer after 30 s without an answer; content in the spool waits its
        turn for up to 5 minutes, and has a second more for each MiB. A message that was written all the same is then
        removed before anything else is written, but for rows somebody claimed meanwhile.
        """

    async def ready(now: float, limit: int, after: Lane | None = None) -> Ready:
        """Return up to `limit` lanes that have a queued row due at `now`, in their order, from behind `after` on.

        Of the lanes with queued rows it looks at LANES_VISITED at most, so that there may be more when it found few.
        """

    async def claim(owner: int, lanes: Sequence[Lane], per_lane: int, now: float) -> Sequence[Job]:
        """Take up to `per_lane` due rows of each lane: they are the owner's, their claim raised by one.

        Rows of one message in one lane make one job, without content. A row that was due while a hold closed its lane
        is given up later by as long as that was. Raises LeaseLost.
        """

    async def content(content_id: int) -> Content:
        """Return a content, whole, a large one in the spool; KeyError when there is none."""

    async def settle(settlements: Sequence[Settlement], owner: int, now: float) -> None:
        """Write results and events in one transaction; rows whose claim moved on are left as they are.

        A message without rows goes, and its content when no other message carries it. Rows that stay are owned by
        nobody and have one more attempt, unless they are UNTRIED; those settled AGAIN or UNTRIED are queued with the
        result's due. A report of a settlement is accepted in the same transaction, queued and owned by nobody, when
        one of the rows it tells of was settled by it. Repeating changes nothing. Raises LeaseLost when the owner has no
        node: then nothing was written; Unacceptable for what the database refuses for its data. A row that is
        settled HELD with a hold has had no attempt, and is kept by that hold since the result's due.
        """

    async def release(rows: Sequence[Row], owner: int, now: float) -> None:
        """Give rows back unattempted: queued, due at `now`, owned by nobody. Rows that moved on are left alone."""


class IQueueCare(Interface):
    """What keeps the queue clean, and takes messages out of it by hand.

    What people do to many recipients at once is SQL of `mtad.adapters.postgres.selected`, which only mtactl runs.
    """

    async def owned(owner: int) -> Sequence[Row]:
        """Return the rows the database holds for `owner`."""

    async def sweep(before: float) -> int:
        """Remove messages received before that time which have no rows, and contents no message carries.

        What is kept on purpose stays until it is old enough. Return how many of the messages had a content: where there
        was none, there was a story only.
        """

    async def sizes() -> dict[Status, int]:
        """Return how many rows have each status."""

    async def waiting(message: int) -> Waiting | None:
        """Return one message with its rows; None when the queue has none of it."""

    async def expire_quarantined(before: float, now: float, by: str) -> int:
        """Remove rows that are quarantined since before that time, and tell what did it; return how many there were.

        Messages go with their last row.
        """

    async def seize(message: int, owner: int, rows: Sequence[int] = ()) -> Job | None:
        """Take all rows of a message that nobody has, as one job whatever their lanes; None when there are none.

        With `rows` only these, by their n. Their claim is raised by one. What is being delivered goes on, what is
        quarantined is kept. Raises LeaseLost.
        """


class IHolds(Interface):
    """Mail that people keep back (DESIGN §5). Each change is news on the channel `mtad_holds`."""

    async def active() -> Sequence[Hold]:
        """Return the holds that nobody released; one may be past its expiry."""

    async def place(hold: Hold) -> int:
        """Keep back from now on what the hold says; return its id.

        What waits of a single message is held at once, and told of; all else when it is handed over or claimed.
        """

    async def release(hold: int, now: float, by: str) -> bool:
        """Let a hold be over, and remember who ended it; False when there is none that stands."""

    async def end_expired(now: float) -> None:
        """Let the holds be over whose expiry has come; forget those that are over for HOLDS_KEPT_SECONDS."""

    async def free(now: float) -> int:
        """Queue up to FREED_AT_ONCE rows whose hold is over, due at `now`, and tell of it; return how many.

        They are given up later by as long as they were held. 0 says that none is left, but for those that somebody
        else frees at this moment.
        """


class INodes(Interface):
    """Membership: who owns rows, and who died (DESIGN D8)."""

    async def join(name: str, now: float, draining: bool = False) -> Node:
        """Take an owner number never used before and a free slot, and insert the node's row.

        The new one drains when it is to be `draining`, and where all nodes of that name drain.
        """

    async def beat(owner: int, last_id: int, stats: dict[str, Fact]) -> Standing:
        """Raise the node's beat; return what its row says."""

    async def beats() -> dict[int, int]:
        """Return the beat of every node by owner number."""

    async def take_over(owner: int, beat: int, now: float) -> int | None:
        """Delete the row of a node that still has that beat, then free its rows, 1 000 at a time; return how many.

        None, and nothing is done, when it has beaten since; where the row is gone already its rows are freed. A row
        taken over for the third time is held, with an event.
        """

    async def free_orphans(now: float) -> int:
        """Free rows whose owner has no node, as `take_over` does; return how many."""

    async def leave(owner: int, now: float, last_id: int | None = None) -> int:
        """Free the rows of a node that stops, not counting them as taken over, and delete its row.

        A node that says what id it issued last gives its slot back: it needs no rest.
        """


class ITimeline(Interface):
    """What happened to messages. Events are written by IQueue, with the rows they concern."""

    async def story(message: int) -> Sequence[Happening]:
        """Return all that is known of a message, oldest first."""

    async def search(key: str, limit: int, organisation: int | None = None) -> Sequence[int]:
        """Return ids of messages that carry this key (address, Message-ID, peer), newest first."""

    async def maintain(now: float, keep_seconds: float) -> None:
        """Have partitions for the coming seven days and drop those older than `keep_seconds`."""


class IWakeups(Interface):
    """News from other processes."""

    def listen(heard: Callable[[str, str], None], lost: Callable[[], None]) -> None:
        """Call `heard(channel, payload)` for every notification, and `lost` whenever some may have been missed."""


class IDependency(Interface):
    """Something `/ready` asks about."""

    async def check() -> None:
        """Return when the dependency answers; raise Unavailable that says why it does not."""


class IResolver(Interface):
    """The DNS."""

    async def resolve(question: Question) -> Answer:
        """Return what the DNS says, or that it did not; never raises for anything a server does or fails to do.

        When no server knows, what was known at most an hour ago is still returned (RFC 8767).
        """

    def known(question: Question) -> Answer | None:
        """Return at once what would be answered without asking anybody; None when somebody would be asked."""


class IGathering(Interface):
    """A content that comes in piece by piece: in memory as long as it is small, else in the spool."""

    def in_memory() -> int:
        """Return how many octets of it are in memory."""

    def add(octets: bytes) -> None:
        """Take the next piece; once this raised, for a disk that is full or broken, all that is left is `drop`."""

    def drop() -> None:
        """Forget all pieces."""

    def content() -> Content:
        """Return the whole, once; a Spooled when it has more than SPOOL_OCTETS."""


class ISpool(Interface):
    """Where large contents are instead of in memory. They are gone with this process."""

    def gather() -> IGathering:
        """Begin a content."""

    def room_octets() -> int:
        """Return how much more its disk takes; it asks the system, which does not wait for a disk."""


class IListener(IListeningPort):
    """Where connections come in. What comes while it pauses waits, or goes to another process on the same socket."""

    def pause() -> None:
        """Take no connections for now; those there are go on."""

    def resume() -> None:
        """Take connections again."""


class INetwork(Interface):
    """Where connections come from and go to."""

    def listen(address: str, factory: "Factory[Any]") -> IListener:
        """Accept connections at `127.0.0.1:2525`, `[::1]:25` or `:25`; raises InvalidInput when it cannot."""

    def dial(address: str, factory: Factory, timeout_seconds: float, source: str | None = None) -> "Deferred[Protocol]":
        """Connect to `host:port` or the path of a unix socket; fails with ConnectError or TimeoutError.

        `source` is the address of this machine to come from, of the family of `host`, which then is an address too.
        """

    def is_ours(address: str) -> bool:
        """Tell at once, and without sending anything, whether an IP address is one of this machine's.

        False when it cannot be told.
        """


class ITlsContexts(Interface):
    """Certificates."""

    def server() -> IOpenSSLServerConnectionCreator | None:
        """Return the context factory for `ITLSTransport.startTLS`, None when no certificate is configured."""

    def client(level: TlsLevel, host: str) -> IOpenSSLClientConnectionCreator:
        """Return what a connection to the server called `host` starts TLS with; VERIFY also verifies that name.

        Raises InvalidInput for a name that no certificate can be verified for.
        """

    def troubles() -> Mapping[str, str]:
        """Return what is wrong with the files of certificates now, by file; those read before are in use."""


class IOffload(Interface):
    """Work that would hold the reactor: waits for disks, slow arithmetic."""

    def run(work: Callable[..., T], *arguments: object) -> "Deferred[T]":
        """Run `work(*arguments)` elsewhere, first come first served, and fire with what it returned or raised.

        Elsewhere is another process: a function of a module, plain arguments and results. Arguments may hold contents
        of the spool, which cost nothing whatever their size.
        """


class ICounters(Interface):
    """Counts that all processes share, each of which ends by itself; all of them may be lost at any time."""

    async def add(key: str, amount: int, window_seconds: float) -> int:
        """Add to a count and return it; it is 0 again that long after the first addition to nothing."""

    async def counts(keys: Sequence[str]) -> Sequence[int]:
        """Return counts in the order of their keys, 0 where there is nothing."""

    async def forget(key: str) -> None:
        """Let a count be 0, and its window be over."""


class IJournal(Interface):
    """The record of this process: log and metrics."""

    def record(event: str, **facts: Fact) -> None:
        """Note an event of the journal's table (`mtad.model.journal`); it is logged and counted. Never raises."""


class IWallClock(Interface):
    """Dates, and the clock leases are measured by."""

    def now() -> float:
        """Return the time in epoch seconds; may step either way."""

    def boottime() -> float:
        """Return seconds since boot, the time asleep included (CLOCK_BOOTTIME); never steps back."""


class IDomainCare(Interface):
    """What is held of hosted domains, and whose turn it is to be looked at."""

    async def due(now: float, until: float, limit: int) -> Sequence[HostedDomain]:
        """Return up to `limit` domains to look at, the longest overdue first; they are due again at `until`.

        So nobody else looks at them meanwhile, and somebody does should this process end.
        """

    async def hosted(name: str) -> HostedDomain | None:
        """Return the domain of that A-label as `due` does, whether it is due or not; None when nobody claimed it."""

    async def note(noted: Noted, now: float) -> Sequence[KeyMove]:
        """Write what a look at a domain came to, in one transaction; return the moves of keys that were made.

        Keys that another look moved already stay where that left them. A domain that is gone is not missed.
        """

    async def statuses() -> Mapping[Subject, Mapping[CheckStatus, int]]:
        """Return of how many domains each status of each subject is held."""

    async def names() -> frozenset[str]:
        """Return the host names of the nodes there are."""


class IKeyCare(Interface):
    """What happens to keys with time, whatever the DNS says."""

    async def revoke(before: float, now: float) -> Sequence[KeyMove]:
        """Revoke keys that are retiring since before that time, private halves and all; return the moves.

        Not those of an organisation whose mail from before a key retired still waits, however long it was held or
        quarantined, or of which a story was told in the last VERIFIED_LATE_SECONDS: it may have been signed with it.
        """

    async def seal(limit: int) -> Sealed:
        """Seal up to `limit` private keys anew that are in clear, or sealed with another master key than the first.

        Without a master key nothing is sealed, and what is sealed is locked.
        """


class IAcceptance(Interface):
    """Where flow in hands over to flow out (`mtad.outbound.queue`)."""

    def ready() -> "Deferred[None]":
        """Fire once this process may accept: at once, but in the first moments of its life."""

    def next_id() -> int:
        """Return an id never issued before; raises LeaseLost while this process is no node."""

    def accept(acceptance: Acceptance) -> "Deferred[None]":
        """Fire once the message is durable and owned; fail with Unavailable or Unacceptable when it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """All that `mtad.service.build` needs from outside.

    `verify_password` says whether a password made a stored hash (None is nobody's, and takes as long); it takes tens of
    milliseconds and belongs into `offload`. `start` opens what must be open before the first message, `stop` closes it
    after the last; `exposition` returns the metrics, `families` the same as values.
    """

    clock: IReactorTime
    wall: IWallClock
    random: Random
    journal: IJournal
    network: INetwork
    resolver: IResolver
    tls: ITlsContexts
    offload: IOffload
    directory: IDirectory
    domain_care: IDomainCare
    key_care: IKeyCare
    queue: IQueue
    care: IQueueCare
    nodes: INodes
    holds: IHolds
    timeline: ITimeline
    counters: ICounters
    wakeups: IWakeups
    spool: ISpool
    verify_password: Callable[[str | None, bytes], bool]
    dependencies: Mapping[str, IDependency]
    exposition: Callable[[], bytes]
    families: Callable[[], Sequence[Family]]
    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]
