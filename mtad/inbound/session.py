"""What a session on the receiving port may do: the avatar behind `twisted.cred`, one a connection.

For every command it gathers facts from the ports, lets one policy decide, and keeps what was accepted. It knows the
protocol's values, never its octets. As an `IMessageDelivery` it takes our own values where Twisted's protocol hands
its own, and answers with verdicts rather than exceptions: outcomes are values.
"""

from collections.abc import Awaitable
from dataclasses import dataclass, replace
from functools import partial

from twisted.internet.defer import Deferred
from twisted.mail.smtp import IMessageDelivery
from zope.interface import implementer

from mtad.inbound.reception import Reception, Transaction
from mtad.inbound.routing import RoutingService
from mtad.interfaces import IJournal, IWallClock
from mtad.message.trace import received
from mtad.model import replies
from mtad.model.address import Address, path
from mtad.model.content import Content
from mtad.model.envelope import Envelope, Peer
from mtad.model.reply import Reply
from mtad.model.route import Route
from mtad.model.tenant import Submitter
from mtad.model.verdict import Accept, Verdict
from mtad.policy import recipient as recipient_policy

_PROBLEMS = {
    replies.BARE_NEWLINE: "bare-newline",
    replies.LINE_OVER_LIMIT: "line-too-long",
    replies.NUL_OCTET: "nul",
    replies.TOO_LARGE: "too-large",
    replies.STORAGE_FULL: "storage-full",
    replies.NO_ROOM: "memory-full",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What every session of a server works with."""

    routing: RoutingService
    reception: Reception
    clock: IWallClock
    journal: IJournal
    hostname: str
    max_recipients: int


@implementer(IMessageDelivery)
class InboundSession:
    """A peer's transactions, one after the other; each `validateFrom` forgets the one before.

    `submitter` is whose submissions they are, None on the receiving port.
    """

    def __init__(self, means: Means, submitter: Submitter | None = None) -> None:
        self._means = means
        self._submitter = submitter
        self._peer: Peer | None = None
        self._envelope: Envelope | None = None
        self._routes: list[Route] = []
        self._places_count = 0

    def validateFrom(self, helo: Peer, origin: Envelope) -> Deferred[Verdict]:
        """Begin a transaction; fire with whether this reverse-path is taken, or fail with Unavailable."""
        self.reset()
        self._peer = helo
        self._envelope = origin
        return Deferred.fromCoroutine(self._validate_from(origin.reverse_path))

    async def _validate_from(self, reverse_path: Address | None) -> Verdict:
        """Welcome every reverse-path, as the receiving port does."""
        return Accept("any reverse-path")

    def validateTo(self, user: Address, notify: str | None = None, orcpt: str | None = None) -> Deferred[Verdict]:
        """Fire with whether this forward-path is taken; fail with Unavailable when nobody can say.

        `notify` and `orcpt` are what is asked for it (RFC 3461 §4.1, §4.2).
        """
        return Deferred.fromCoroutine(self._validate_to(user, notify, orcpt))

    async def _validate_to(self, forward_path: Address, notify: str | None, orcpt: str | None) -> Verdict:
        route = await self._route(forward_path)
        if notify is not None or orcpt is not None:
            route = replace(route, notify=notify, orcpt=orcpt)
        verdict = recipient_policy.decide(
            recipient_policy.RecipientFacts(
                route=route,
                accepted_count=len(self._routes),
                accepted_places=self._places_count,
                max_recipients=self._means.max_recipients,
                now=self._means.clock.now(),
            )
        )
        if isinstance(verdict, Accept):
            self._routes.append(route)
            self._places_count += len(route.places)
        else:
            self._rejected("rcpt", verdict.reason, verdict.reply, forward_path=str(forward_path))
        return verdict

    def _route(self, forward_path: Address) -> Awaitable[Route]:
        return self._means.routing.route(forward_path)

    def receivedHeader(self, helo: Peer, origin: str, recipients: list[Address], international: bool = False) -> bytes:
        """Return the Received field for the message printed as `origin` (RFC 5321 §4.4).

        `international` tells that MAIL said SMTPUTF8.
        """
        only = recipients[0] if len(recipients) == 1 else None
        now = self._means.clock.now()
        return received(
            peer=helo,
            hostname=self._means.hostname,
            printed_id=origin,
            for_=only,
            now=now,
            international=international,
        )

    def reset(self) -> None:
        """Forget the transaction in progress (RSET, EHLO)."""
        self._envelope = None
        self._routes = []
        self._places_count = 0

    def refused(self, problem: Reply) -> None:
        """Note that the octets themselves were refused; the transaction is over."""
        self._rejected("data", _PROBLEMS[problem], problem)
        self.reset()

    def finish(self, content: Content, longest_line: int = 0) -> Deferred[Reply]:
        """Fire with the answer to the end of data; the transaction is over whatever it is.

        `longest_line` is the length in octets of a line that is longer than lines should be, 0 without any.
        """
        assert self._envelope is not None
        assert self._peer is not None
        routes = tuple(self._routes)
        transaction = Transaction(self._peer, self._envelope, routes, content, self._submitter, longest_line)
        stamp = partial(self.receivedHeader, international=self._envelope.parameters.smtputf8)
        self.reset()
        return Deferred.fromCoroutine(self._means.reception.receive(transaction, stamp))

    def _rejected(self, stage: str, reason: str, reply: Reply, **facts: str) -> None:
        assert self._envelope is not None
        assert self._peer is not None
        self._means.journal.record(
            "smtp.rejected",
            stage=stage,
            reason=reason,
            reply=reply.text,
            peer=self._peer.host,
            reverse_path=path(self._envelope.reverse_path),
            **facts,
        )
