"""Delivery by LMTP (RFC 2033): one message, some recipients, one outcome for each.

The server behind an address is the operator's, and yet nothing it says is trusted. What is not decided by its words is
temporary, and so is all trouble in reaching it. The trace fields of final delivery are the server's to add.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from twisted.internet import defer
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IReactorTime

from mtad.interfaces import INetwork
from mtad.model.address import Address, path
from mtad.model.outcome import Deferred, Failed, Outcome, Scope
from mtad.model.text import shown
from mtad.outbound.pool import SessionPool
from mtad.outbound.session import ClientSession, SessionFactory
from mtad.smtp.client import Dialect
from mtad.smtp.dot_stuffing import has_bare_newline
from mtad.smtp.transaction import Transaction, sayable

CONNECT_SECONDS = 30.0
RECIPIENTS_PER_TRANSACTION = 100
"""What every server takes at once (RFC 5321 §4.5.3.1.8)."""


class LmtpClient:
    """Delivers to LMTP servers. `may_send` tells whether this process may still complete a delivery (DESIGN §8)."""

    def __init__(
        self,
        *,
        network: INetwork,
        clock: IReactorTime,
        hostname: str,
        may_send: Callable[[], bool],
        max_connections: int = 20,
    ) -> None:
        self._network = network
        self._factory = SessionFactory(Dialect.LMTP, hostname, clock, may_send)
        self._pool = SessionPool(self._dial, clock, max_connections)
        self._in_use: set[ClientSession] = set()

    async def deliver(
        self, addr: str, reverse_path: Address | None, recipients: Sequence[Address], content: bytes
    ) -> list[Outcome]:
        """Send a message to the server at `addr` (`host:port` or a unix path); one outcome a recipient, in order."""
        wrong = _wrong_with(reverse_path, content)
        if wrong is not None:
            return [wrong] * len(recipients)
        outcomes: list[Outcome | None] = [
            None if sayable(recipient) else _unsayable(recipient) for recipient in recipients
        ]
        open_ = [n for n, outcome in enumerate(outcomes) if outcome is None]
        for start in range(0, len(open_), RECIPIENTS_PER_TRANSACTION):
            some = open_[start : start + RECIPIENTS_PER_TRANSACTION]
            transaction = Transaction(
                reverse_path, tuple(recipients[n] for n in some), len(content), not content.isascii()
            )
            for n, outcome in zip(some, await self._send(addr, transaction, content), strict=True):
                outcomes[n] = replace(outcome, detail=f"{addr}: {outcome.detail}")
        return cast(list[Outcome], outcomes)

    def abort(self) -> None:
        """Drop every connection whose message is not sent whole: the lease is lost."""
        for session in list(self._in_use):
            session.abort()

    def stop(self) -> None:
        """Take leave of servers that nothing is being sent to."""
        self._pool.close()

    async def _send(self, addr: str, transaction: Transaction, content: bytes) -> Sequence[Outcome]:
        while True:
            session = await self._pool.take(addr)
            if isinstance(session, Deferred):
                return [session] * len(transaction.recipients)
            kept = session.transactions_count > 0
            self._in_use.add(session)
            outcomes = await session.transact(transaction, content)
            self._in_use.discard(session)
            self._pool.give_back(addr, session)
            # A server may close what it thinks idle just when it is used again: nothing was tried, so it is tried now.
            if not (kept and session.stale):
                return outcomes

    def _dial(self, addr: str) -> "defer.Deferred[ClientSession | Deferred]":
        return defer.Deferred.fromCoroutine(self._connected(addr))

    async def _connected(self, addr: str) -> ClientSession | Deferred:
        try:
            session = cast(ClientSession, await self._network.dial(addr, self._factory, CONNECT_SECONDS))
        except (ConnectError, ConnectTimeout) as trouble:
            return Deferred(f"cannot connect: {shown(str(trouble))}", Scope.HOST, "4.4.1")
        return await session.ready or session


def _wrong_with(reverse_path: Address | None, content: bytes) -> Failed | None:
    """Return why a message can be sent to nobody; acceptance lets no such message in."""
    if not sayable(reverse_path):
        return Failed(f"{shown(path(reverse_path))} cannot be said in LMTP", Scope.MESSAGE, "5.1.7")
    if has_bare_newline(content):
        return Failed("the message has a CR or LF that stands alone", Scope.MESSAGE, "5.6.0")
    return None


def _unsayable(recipient: Address) -> Failed:
    return Failed(f"{shown(path(recipient))} cannot be said in LMTP", Scope.RECIPIENT, "5.1.3")
