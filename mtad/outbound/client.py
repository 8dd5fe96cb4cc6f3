"""Delivery to one server by SMTP or LMTP (RFC 2033): one message, some recipients, one outcome for each.

Nothing a server says is trusted, the operator's own included. What is not decided by its words is temporary, and so is
all trouble in reaching it. Which server a message goes to is the caller's to say, with a `NextHop`.

Where a next hop may be spoken to in clear, TLS that cannot be begun is no reason to keep the mail: the server is
dialled again and spoken to in clear, for an hour without asking for TLS. A server that could not be reached is
remembered as well, for a minute, so that others may be tried before it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from twisted.internet import defer
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IReactorTime

from mtad.interfaces import IJournal, INetwork, ITlsContexts
from mtad.model.envelope import Recipient
from mtad.model.errors import InvalidInput, Unavailable
from mtad.model.next_hop import Dialect, NextHop, TlsLevel
from mtad.model.outcome import Deferred, Delivered, Outcome, Remote, Scope
from mtad.model.text import shown
from mtad.outbound.endings import not_ours, stopped
from mtad.outbound.errand import Errand, Mail, surveyed
from mtad.outbound.lately import Lately
from mtad.outbound.pool import SessionPool
from mtad.outbound.session import ClientSession, SessionFactory
from mtad.smtp.client import ClientConversation, Terms
from mtad.smtp.offers import misfits

CONNECT_SECONDS = 30.0
CLEAR_SECONDS = 3600.0
UNREACHABLE_SECONDS = 60.0
PATIENCE_SECONDS = 600.0
_LATE = Deferred("the server took too long over other recipients", Scope.HOST, "4.4.5")


class MailClient:
    """Delivers to next hops."""

    def __init__(
        self,
        *,
        network: INetwork,
        tls: ITlsContexts,
        clock: IReactorTime,
        journal: IJournal,
        hostname: str,
        max_connections: int = 20,
        messages_per_connection: int = 100,
    ) -> None:
        self._network = network
        self._tls = tls
        self._clock = clock
        self._journal = journal
        self._hostname = hostname
        self._pool = SessionPool(self._dial, clock, max_connections, messages_per_connection)
        self._in_use: set[ClientSession] = set()
        self._clear = Lately(clock, CLEAR_SECONDS)
        self._unreachable = Lately(clock, UNREACHABLE_SECONDS)
        self._stopping = False

    async def deliver(
        self, hop: NextHop, mail: Mail, recipients: Sequence[Recipient], patience_seconds: float = PATIENCE_SECONDS
    ) -> list[Outcome]:
        """Send a message to the server that `hop` names; one outcome a recipient, in order.

        It waits `patience_seconds` at most for others to be done with their connections to that server, and begins no
        further transaction after them. After the server's own trouble (Scope.HOST) it is not asked for more: that
        outcome is the remaining recipients' too. What the server cannot take Failed with that scope, and nothing of it
        was sent. Nothing is begun that the mail's `may_send` denies, and no last dot is sent (DESIGN §8).
        """
        try:
            survey = await surveyed(mail, self._clock)
        except Unavailable as trouble:
            detail = f"the content cannot be read: {shown(trouble.reason)}"
            return [Deferred(detail, Scope.OURS, "4.3.0")] * len(recipients)
        errand = Errand(mail, recipients, survey)
        ends_at = self._clock.seconds() + patience_seconds
        while errand.open:
            if self._stopping:
                errand.end(stopped())
            elif not mail.may_send():
                errand.end(not_ours())
            else:
                await self._go_on(errand, hop, ends_at)
                if self._clock.seconds() >= ends_at:
                    errand.end(_LATE)
        return errand.outcomes

    def is_unreachable(self, address: str) -> bool:
        """Return whether a server (by what is dialled) could not be reached within the last minute."""
        return address in self._unreachable

    def abort(self, stopping: bool = False) -> None:
        """Drop every connection whose message is not sent whole: the lease is not good.

        When this server is `stopping` drop all others too, and send nothing more; what was sent may arrive twice.
        """
        self._stopping = self._stopping or stopping
        for session in list(self._in_use):
            session.abort(stopping)

    def dismiss(self) -> None:
        """Let nobody wait for a connection that others use: they may send nothing any more. What is dialled ends so."""
        self._pool.dismiss(not_ours())

    def stop(self) -> None:
        """Take leave of servers that nothing is being sent to."""
        self._pool.close()

    async def _go_on(self, errand: Errand, hop: NextHop, ends_at: float) -> None:
        """Bring the errand further by a transaction, or to its end."""
        session = await self._pool.take(hop, ends_at - self._clock.seconds())
        if isinstance(session, Deferred):
            errand.end(session)
            return
        if self._stopping:
            self._pool.give_back(hop, session)
            return
        kept = session.transactions_count > 0
        self._in_use.add(session)
        try:
            places, outcomes = await _transacted(errand, hop, session)
        except BaseException:
            # Nobody knows what was said last, so nothing more can be; the place is free all the same.
            session.drop()
            raise
        finally:
            self._in_use.discard(session)
            self._pool.give_back(hop, session)
        # A server may close what it thinks idle just when it is used again: nothing was tried, so it is tried now.
        if kept and session.stale:
            return
        errand.close(places, outcomes)
        trouble = next((outcome for outcome in outcomes if _is_of_the_host(outcome)), None)
        if trouble is not None:
            errand.end(trouble)

    def _dial(self, hop: NextHop) -> "defer.Deferred[ClientSession | Deferred]":
        return defer.Deferred.fromCoroutine(self._opened(hop))

    async def _opened(self, hop: NextHop) -> ClientSession | Deferred:
        """Return a session that is ready, in clear where TLS was to be had and could not be."""
        may_be_clear = hop.tls is TlsLevel.MAY and hop.credentials is None
        level = TlsLevel.NONE if may_be_clear and hop.address in self._clear else hop.tls
        session, found = await self._connected(hop, level)
        if session is None or not session.tls_failed or not isinstance(found, Deferred):
            return found
        if not may_be_clear:
            # RFC 3463 §3.8: X.7.5 is a cryptographic failure; a certificate that does not hold is one.
            return replace(found, status="4.7.5")
        self._journal.record("delivery.tls_failed", host=hop.host, address=hop.address, reason=found.detail)
        self._clear.note(hop.address)
        _, found = await self._connected(hop, TlsLevel.NONE)
        return found

    async def _connected(self, hop: NextHop, level: TlsLevel) -> tuple[ClientSession | None, ClientSession | Deferred]:
        """Return the session that was made, and whether it came to be ready or what was in the way."""
        nowhere = Remote(hop.host, hop.address, behind=hop.behind)
        try:
            context = None if level is TlsLevel.NONE else self._tls.client(level, hop.host)
        except InvalidInput as wrong:
            return None, Deferred(
                f"its certificate cannot be verified: {shown(str(wrong))}", Scope.HOST, "4.7.5", nowhere
            )
        conversation = ClientConversation(hop.dialect, self._hostname, Terms(level, hop.credentials))
        factory = SessionFactory(lambda: ClientSession(conversation, self._clock, context))
        try:
            dialled = await self._network.dial(hop.address, factory, CONNECT_SECONDS, hop.source)
        except (ConnectError, ConnectTimeout) as trouble:
            self._unreachable.note(hop.address)
            return None, Deferred(f"cannot connect: {shown(str(trouble))}", Scope.HOST, "4.4.1", nowhere)
        session = cast(ClientSession, dialled)
        if hop.guarded and session.is_to_ourselves:
            session.refuse()
            return None, Deferred("the address is this server's own", Scope.HOST, "4.4.6", nowhere)
        trouble_opening = await session.ready
        if conversation.replies_count:
            self._unreachable.forget(hop.address)
        else:
            self._unreachable.note(hop.address)
        if trouble_opening is None:
            return session, session
        return session, replace(trouble_opening, remote=_remote(hop, session))


async def _transacted(
    errand: Errand, hop: NextHop, session: ClientSession
) -> tuple[Sequence[int], Sequence[Outcome | None]]:
    """Send to as many recipients as the server takes at once; return their places, and how they fared.

    Where there are some it can take under no circumstances, these come first and nothing is sent.
    """
    remote = _remote(hop, session)
    places = errand.open
    unfit = misfits(errand.transaction(places), session.extensions)
    if any(unfit):
        return places, [outcome and replace(outcome, remote=remote) for outcome in unfit]
    places = errand.batch(session.limits)
    outcomes = await session.transact(errand.transaction(places), errand.mail.content, errand.mail.may_send)
    notifies = "DSN" in session.extensions
    return places, [
        replace(outcome, remote=remote, dsn=notifies)
        if isinstance(outcome, Delivered)
        else replace(outcome, remote=remote)
        for outcome in outcomes
    ]


def _is_of_the_host(outcome: Outcome | None) -> bool:
    return isinstance(outcome, Deferred) and outcome.scope is Scope.HOST


def _remote(hop: NextHop, session: ClientSession) -> Remote:
    """Return whom the session is with; a name that was dialled has become an address."""
    address = session.peer or hop.address
    return Remote(hop.host, address, session.tls, store=hop.dialect is Dialect.LMTP, behind=hop.behind)
