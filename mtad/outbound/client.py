"""Delivery to one server by SMTP or LMTP (RFC 2033): one message, some recipients, one outcome for each.

Nothing a server says is trusted, the operator's own included. What is not decided by its words is temporary, and so is
all trouble in reaching it. Which server a message goes to is the caller's to say, with a `NextHop`.

Where a next hop may be spoken to in clear, TLS that cannot be begun is no reason to keep the mail: the server is
dialled again and spoken to in clear, for an hour without asking for TLS.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from twisted.internet import defer
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IReactorTime

from mtad.interfaces import IJournal, INetwork, ITlsContexts
from mtad.model.address import Address, path
from mtad.model.next_hop import NextHop, TlsLevel
from mtad.model.outcome import Deferred, Failed, Outcome, Remote, Scope
from mtad.model.text import shown
from mtad.outbound.pool import SessionPool
from mtad.outbound.session import ClientSession, SessionFactory, stopped
from mtad.smtp.client import ClientConversation, Terms
from mtad.smtp.dot_stuffing import has_bare_newline
from mtad.smtp.transaction import Transaction, sayable

CONNECT_SECONDS = 30.0
CLEAR_SECONDS = 3600.0
PATIENCE_SECONDS = 600.0
_MAX_CLEAR = 1000
RECIPIENTS_PER_TRANSACTION = 100
"""What every server takes at once (RFC 5321 §4.5.3.1.8)."""


class MailClient:
    """Delivers to next hops. `may_send` tells whether this process may still complete a delivery (DESIGN §8)."""

    def __init__(
        self,
        *,
        network: INetwork,
        tls: ITlsContexts,
        clock: IReactorTime,
        journal: IJournal,
        hostname: str,
        may_send: Callable[[], bool],
        max_connections: int = 20,
        messages_per_connection: int = 100,
    ) -> None:
        self._network = network
        self._tls = tls
        self._clock = clock
        self._journal = journal
        self._hostname = hostname
        self._may_send = may_send
        self._pool = SessionPool(self._dial, clock, max_connections, messages_per_connection)
        self._in_use: set[ClientSession] = set()
        self._clear_until: dict[str, float] = {}
        self._stopping = False

    async def deliver(
        self,
        hop: NextHop,
        reverse_path: Address | None,
        recipients: Sequence[Address],
        content: bytes,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> list[Outcome]:
        """Send a message to the server that `hop` names; one outcome a recipient, in order.

        It waits `patience_seconds` at most for others to be done with their connections to that server. After the
        server's own trouble (Scope.HOST) it is not asked for more: that outcome is the remaining recipients' too.
        """
        wrong = _wrong_with(reverse_path, content)
        if wrong is not None:
            return [wrong] * len(recipients)
        outcomes: list[Outcome | None] = [
            None if sayable(recipient) else _unsayable(recipient) for recipient in recipients
        ]
        open_ = [n for n, outcome in enumerate(outcomes) if outcome is None]
        ends_at = self._clock.seconds() + patience_seconds
        for start in range(0, len(open_), RECIPIENTS_PER_TRANSACTION):
            some = open_[start : start + RECIPIENTS_PER_TRANSACTION]
            transaction = Transaction(
                reverse_path, tuple(recipients[n] for n in some), len(content), not content.isascii()
            )
            sent = [stopped()] * len(some) if self._stopping else await self._send(hop, transaction, content, ends_at)
            for n, outcome in zip(some, sent, strict=True):
                outcomes[n] = outcome
            trouble = next((outcome for outcome in sent if _is_of_the_host(outcome)), None)
            if trouble is not None:
                return [outcome or trouble for outcome in outcomes]
        return cast(list[Outcome], outcomes)

    def abort(self, stopping: bool = False) -> None:
        """Drop every connection whose message is not sent whole: the lease is lost.

        When this server is `stopping` drop all others too, and send nothing more; what was sent may arrive twice.
        """
        self._stopping = self._stopping or stopping
        for session in list(self._in_use):
            session.abort(stopping)

    def stop(self) -> None:
        """Take leave of servers that nothing is being sent to."""
        self._pool.close()

    async def _send(self, hop: NextHop, transaction: Transaction, content: bytes, ends_at: float) -> Sequence[Outcome]:
        while True:
            session = await self._pool.take(hop, ends_at - self._clock.seconds())
            if isinstance(session, Deferred):
                return [session] * len(transaction.recipients)
            if self._stopping:
                self._pool.give_back(hop, session)
                return [stopped()] * len(transaction.recipients)
            kept = session.transactions_count > 0
            remote = _remote(hop, session)
            self._in_use.add(session)
            try:
                outcomes = await session.transact(transaction, content)
            except BaseException:
                # Nobody knows what was said last, so nothing more can be; the place is free all the same.
                session.drop()
                raise
            finally:
                self._in_use.discard(session)
                self._pool.give_back(hop, session)
            # A server may close what it thinks idle just when it is used again: nothing was tried, so it is tried now.
            if not (kept and session.stale):
                return [replace(outcome, remote=remote) for outcome in outcomes]

    def _dial(self, hop: NextHop) -> "defer.Deferred[ClientSession | Deferred]":
        return defer.Deferred.fromCoroutine(self._opened(hop))

    async def _opened(self, hop: NextHop) -> ClientSession | Deferred:
        """Return a session that is ready, in clear where TLS was to be had and could not be."""
        may_be_clear = hop.tls is TlsLevel.MAY and hop.credentials is None
        level = TlsLevel.NONE if may_be_clear and self._is_clear(hop.address) else hop.tls
        session, found = await self._connected(hop, level)
        if session is None or not session.tls_failed or not may_be_clear:
            return found
        assert isinstance(found, Deferred)
        self._journal.record("delivery.tls_failed", host=hop.host, address=hop.address, reason=found.detail)
        self._remember_clear(hop.address)
        _, found = await self._connected(hop, TlsLevel.NONE)
        return found

    async def _connected(self, hop: NextHop, level: TlsLevel) -> tuple[ClientSession | None, ClientSession | Deferred]:
        """Return the session that was made, and whether it came to be ready or what was in the way."""
        factory = SessionFactory(lambda: self._session(hop, level))
        try:
            dialled = await self._network.dial(hop.address, factory, CONNECT_SECONDS, hop.source)
        except (ConnectError, ConnectTimeout) as trouble:
            detail = f"cannot connect: {shown(str(trouble))}"
            return None, Deferred(detail, Scope.HOST, "4.4.1", Remote(hop.host, hop.address))
        session = cast(ClientSession, dialled)
        if hop.guarded and session.is_to_ourselves:
            session.refuse()
            detail = "the address is this server's own"
            return None, Deferred(detail, Scope.HOST, "4.4.6", Remote(hop.host, hop.address))
        trouble_opening = await session.ready
        if trouble_opening is None:
            return session, session
        return session, replace(trouble_opening, remote=_remote(hop, session))

    def _session(self, hop: NextHop, level: TlsLevel) -> ClientSession:
        conversation = ClientConversation(hop.dialect, self._hostname, Terms(level, hop.credentials))
        context = None if level is TlsLevel.NONE else self._tls.client(level, hop.host)
        return ClientSession(conversation, self._clock, self._may_send, context)

    def _is_clear(self, address: str) -> bool:
        return self._clear_until.get(address, 0.0) > self._clock.seconds()

    def _remember_clear(self, address: str) -> None:
        """Ask this server for no TLS for a while; of too many the oldest is asked again."""
        self._clear_until.pop(address, None)
        if len(self._clear_until) == _MAX_CLEAR:
            del self._clear_until[next(iter(self._clear_until))]
        self._clear_until[address] = self._clock.seconds() + CLEAR_SECONDS


def _is_of_the_host(outcome: Outcome) -> bool:
    return isinstance(outcome, Deferred) and outcome.scope is Scope.HOST


def _remote(hop: NextHop, session: ClientSession) -> Remote:
    """Return whom the session is with; a name that was dialled has become an address."""
    return Remote(hop.host, session.peer or hop.address, session.tls)


def _wrong_with(reverse_path: Address | None, content: bytes) -> Failed | None:
    """Return why a message can be sent to nobody; acceptance lets no such message in."""
    if not sayable(reverse_path):
        return Failed(f"{shown(path(reverse_path))} cannot be said in SMTP", Scope.MESSAGE, "5.1.7")
    if has_bare_newline(content):
        return Failed("the message has a CR or LF that stands alone", Scope.MESSAGE, "5.6.0")
    return None


def _unsayable(recipient: Address) -> Failed:
    return Failed(f"{shown(path(recipient))} cannot be said in SMTP", Scope.RECIPIENT, "5.1.3")
