"""What a session on the receiving port may do: the avatar behind `twisted.cred`, one a connection.

For every command it gathers facts from the ports, lets one policy decide, and keeps what was accepted. It knows the
protocol's values, never its octets. As an `IMessageDelivery` it takes our own values where Twisted's protocol hands
its own, and answers with verdicts rather than exceptions: outcomes are values.
"""

from twisted.internet.defer import Deferred
from twisted.mail.smtp import IMessageDelivery
from zope.interface import implementer

from mtad.inbound.reception import Reception, Transaction
from mtad.inbound.routing import RoutingService
from mtad.interfaces import IJournal, IWallClock
from mtad.message.trace import received
from mtad.model import replies
from mtad.model.address import Address, path
from mtad.model.envelope import Envelope, Peer
from mtad.model.reply import Reply
from mtad.model.route import Route
from mtad.model.verdict import Accept, Verdict
from mtad.policy import recipient as recipient_policy

_PROBLEMS = {
    replies.BARE_NEWLINE: "bare-newline",
    replies.NUL_OCTET: "nul",
    replies.TOO_LARGE: "too-large",
}


@implementer(IMessageDelivery)
class InboundSession:
    """A peer's transactions, one after the other; `begin` forgets the one before."""

    def __init__(
        self,
        *,
        routing: RoutingService,
        reception: Reception,
        clock: IWallClock,
        journal: IJournal,
        hostname: str,
        max_recipients: int,
    ) -> None:
        self._routing = routing
        self._reception = reception
        self._clock = clock
        self._journal = journal
        self._hostname = hostname
        self._max_recipients = max_recipients
        self._peer: Peer | None = None
        self._envelope: Envelope | None = None
        self._routes: list[Route] = []

    def validateFrom(self, helo: Peer, origin: Envelope) -> Verdict:
        """Begin a transaction: every reverse-path is welcome on the receiving port."""
        self._peer = helo
        self._envelope = origin
        self._routes = []
        return Accept("any reverse-path")

    def validateTo(self, user: Address) -> Deferred[Verdict]:
        """Fire with whether this forward-path is taken; fail with Unavailable when nobody can say."""
        return Deferred.fromCoroutine(self._validate_to(user))

    async def _validate_to(self, forward_path: Address) -> Verdict:
        route = await self._routing.route(forward_path)
        verdict = recipient_policy.decide(
            recipient_policy.RecipientFacts(
                route=route,
                accepted_count=len(self._routes),
                accepted_places=sum(len(accepted.places) for accepted in self._routes),
                max_recipients=self._max_recipients,
                now=self._clock.now(),
            )
        )
        if isinstance(verdict, Accept):
            self._routes.append(route)
        else:
            self._rejected("rcpt", verdict.reason, verdict.reply, forward_path=str(forward_path))
        return verdict

    def receivedHeader(self, helo: Peer, origin: str, recipients: list[Address]) -> bytes:
        """Return the Received field for the message printed as `origin` (RFC 5321 §4.4)."""
        only = recipients[0] if len(recipients) == 1 else None
        return received(peer=helo, hostname=self._hostname, printed_id=origin, for_=only, now=self._clock.now())

    def reset(self) -> None:
        """Forget the transaction in progress (RSET, EHLO)."""
        self._envelope = None
        self._routes = []

    def refused(self, problem: Reply) -> None:
        """Note that the octets themselves were refused; the transaction is over."""
        self._rejected("data", _PROBLEMS[problem], problem)
        self.reset()

    def finish(self, content: bytes) -> Deferred[Reply]:
        """Fire with the answer to the end of data; the transaction is over whatever it is."""
        assert self._envelope is not None
        assert self._peer is not None
        transaction = Transaction(self._peer, self._envelope, tuple(self._routes), content)
        self.reset()
        return Deferred.fromCoroutine(self._reception.receive(transaction, self.receivedHeader))

    def _rejected(self, stage: str, reason: str, reply: Reply, **facts: str) -> None:
        assert self._envelope is not None
        assert self._peer is not None
        self._journal.record(
            "smtp.rejected",
            stage=stage,
            reason=reason,
            reply=reply.text,
            peer=self._peer.host,
            reverse_path=path(self._envelope.reverse_path),
            **facts,
        )
