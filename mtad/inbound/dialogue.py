"""What the events of a session mean: who the peer is, what it wants, and the reply to each (DESIGN §3, steps 3 to 9).

The avatar behind `twisted.cred` decides about senders, recipients and messages; here it is found, asked, and told when
a transaction is forgotten. Octets, order and time are the protocol's (`mtad.inbound.protocol`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.interfaces import IReactorTime

from mtad.inbound.backpressure import Backpressure
from mtad.inbound.credentials import Refused
from mtad.inbound.incoming import Incoming
from mtad.inbound.login import Entrance
from mtad.inbound.session import InboundSession
from mtad.inbound.verifiers import Verifiers
from mtad.inbound.vouched import spoken_for
from mtad.interfaces import IJournal, ISpool, ITlsContexts
from mtad.model import replies
from mtad.model.envelope import Envelope, Peer
from mtad.model.errors import Unavailable
from mtad.model.reply import Reply
from mtad.model.text import shown
from mtad.model.verdict import Accept, Refuse, Verdict
from mtad.policy.peer import Network
from mtad.scheduling.memory import Use
from mtad.smtp.commands import (
    Data,
    EndOfData,
    Event,
    Hello,
    LoginStep,
    MailFrom,
    Quit,
    RcptTo,
    Reset,
    StartTls,
    XClient,
)
from mtad.smtp.sasl import Authenticate, Confirm, Login, Proof
from mtad.smtp.scram import Opening
from mtad.smtp.server import Conversation


@dataclass(frozen=True, slots=True)
class Terms:
    """What every session of a port has in common. `max_message_size` in octets; `port` names it in the log.

    `max_recipients` is what a transaction may have of them, told when set; `login` says how a peer at an address may
    log in, and `verifiers` ask by SCRAM where it may; `implicit_tls` that sessions begin with TLS (RFC 8314 §3.3).
    Peers in `xclient_networks` may speak for others. With `soft_bounce` no mail is refused for good.
    """

    port: str
    hostname: str
    max_message_size: int
    clock: IReactorTime
    journal: IJournal
    tls: ITlsContexts
    backpressure: Backpressure
    spool: ISpool
    max_recipients: int | None = None
    login: Callable[[str], Login | None] = lambda host: None
    verifiers: Verifiers | None = None
    implicit_tls: bool = False
    greet_pause_seconds: float = 0.0
    xclient_networks: tuple[Network, ...] = ()
    soft_bounce: bool = False


class Dialogue:
    """One session's. `portal` knows who may log in.

    `tls_name` tells the TLS in use, such as TLSv1.3, `channel_binding` its tls-exporter value if it has one.
    """

    def __init__(
        self,
        *,
        terms: Terms,
        portal: Portal,
        peer: Peer,
        conversation: Conversation,
        tls_name: Callable[[], str],
        channel_binding: Callable[[], bytes | None],
    ) -> None:
        self.peer = peer
        self.incoming: Incoming | None = None
        self._terms = terms
        self._conversation = conversation
        self._tls_name = tls_name
        self._channel_binding = channel_binding
        self._entrance = Entrance(
            portal=portal,
            conversation=conversation,
            journal=terms.journal,
            verifiers=terms.verifiers,
            channel_binding=channel_binding,
        )
        self._in_transaction = False
        self._stake = terms.backpressure.stake(Use.INCOMING)
        # Who it is without XCLIENT, and the name of whom it speaks for.
        self._itself = peer
        self._helo: str | None = None

    @property
    def in_transaction(self) -> bool:
        """Whether MAIL was accepted, and what it began is not over."""
        return self._in_transaction

    async def respond(self, event: Event) -> Reply:
        """Return the reply to an event that owes one; raises what its ports raise."""
        reply = await self._reply_to(event)
        soft = self._terms.soft_bounce and isinstance(event, MailFrom | RcptTo | EndOfData)
        return reply.softened() if soft else reply

    async def _reply_to(self, event: Event) -> Reply:
        match event:
            case MailFrom():
                envelope = Envelope(event.reverse_path, event.size, event.body, parameters=event.parameters)
                return await self._begin(envelope)
            case RcptTo():
                return await self._add(event)
            case Data():
                self.expect()
                return replies.START_DATA
            case EndOfData():
                return await self._finish(event)
            case Hello():
                self._forget()
                tls = self._tls_name() if self._conversation.tls else None
                self.peer = replace(self.peer, helo=self._helo or event.name, esmtp=event.extended, tls=tls)
                return self._conversation.hello_reply(self._channel_binding() is not None)
            case Authenticate() | Opening() | Proof() | Confirm():
                return await self._log_in(event)
            case XClient():
                return await self._speak_for(event.attributes)
            case Reset():
                self._forget()
                return replies.OK
            case StartTls():
                self._forget()
                return replies.STARTTLS_READY
            case Quit():
                return replies.BYE
        raise AssertionError(f"an event without an answer: {event}")

    def expect(self) -> None:
        """Say that content is to come, all of it or the next chunk."""
        if self.incoming is None:
            terms = self._terms
            gathering = terms.spool.gather()
            self.incoming = Incoming(terms.max_message_size, terms.clock.seconds(), gathering, self._stake)

    def keep(self, content: bytes) -> None:
        """Take a piece of the message that is coming in."""
        assert self.incoming is not None
        self.incoming.keep(content)

    def begin_anew(self) -> None:
        """Forget who the peer said it is: TLS began (RFC 3207 §4.2)."""
        self._in_transaction = False
        self._stake.hold(0)
        self._entrance.forget()
        self._helo = None
        self._take_for(self._itself)

    def leave(self) -> None:
        """Say that the peer is gone: a login that waits is withdrawn, what came of a message is forgotten."""
        self._entrance.leave()
        if self.incoming is not None:
            self.incoming.drop()
        self._stake.close()

    async def _begin(self, envelope: Envelope) -> Reply:
        """Begin a transaction, of whoever the peer is without having logged in when it did not."""
        if self._entrance.session is None:
            try:
                await self._entrance.pass_by(self.peer.host)
            except UnauthorizedLogin:
                return replies.LOGIN_FIRST
        verdict = await self._terms.backpressure.begin(envelope.size, self._stake)
        if isinstance(verdict, Refuse):
            self._turned_away(verdict)
            return verdict.reply
        try:
            reply = _said(await self._avatar.validateFrom(self.peer, envelope), replies.SENDER_OK)
            self._in_transaction = reply.positive
        finally:
            # What was put by for the message is let go of, also when nobody could say whether it may come.
            if not self._in_transaction:
                self._stake.hold(0)
        return reply

    async def _add(self, recipient: RcptTo) -> Reply:
        """Take a recipient, or refuse it; which addresses there are is not for those who ask for many."""
        verdict = await self._avatar.validateTo(recipient.forward_path, recipient.notify, recipient.orcpt)
        reply = _said(verdict, replies.RECIPIENT_OK)
        if reply.permanent:
            self._conversation.recipient_refused()
        return reply

    def _turned_away(self, verdict: Refuse) -> None:
        self._terms.journal.record(
            "smtp.rejected", stage="mail", reason=verdict.reason, reply=verdict.reply.text, peer=self.peer.host
        )

    async def _log_in(self, step: LoginStep) -> Reply:
        reply = await self._entrance.respond(step, self.peer.host)
        self.peer = replace(self.peer, authenticated=reply is replies.LOGGED_IN)
        return reply

    async def _speak_for(self, attributes: Mapping[str, str]) -> Reply:
        """Take the peer for whom it speaks for; the session begins anew."""
        login = attributes.get("LOGIN", "")
        if login:
            try:
                await self._entrance.vouch(login)
            except Refused as refused:
                return self._not_vouched(login, refused.reason)
        else:
            self._entrance.forget()
        self._forget()
        proxy, self._helo = self.peer.host, attributes.get("HELO", self._helo)
        self._take_for(replace(spoken_for(self.peer, attributes), authenticated=bool(login)))
        told = {name.lower(): shown(attributes.get(name, "")) for name in ("NAME", "HELO", "LOGIN")}
        self._terms.journal.record("smtp.xclient", peer=proxy, host=self.peer.host, **told)
        return replies.greeting(self._terms.hostname)

    def _not_vouched(self, login: str, why: str) -> Reply:
        reply = replies.UNKNOWN_LOGIN
        self._terms.journal.record(
            "smtp.rejected",
            stage="command",
            reason="no-such-user",
            reply=reply.text,
            peer=self.peer.host,
            user=shown(login),
            detail=why,
        )
        return reply

    def _take_for(self, peer: Peer) -> None:
        self.peer = peer
        self._conversation.login_is(self._terms.login(peer.host))

    async def _finish(self, end: EndOfData) -> Reply:
        assert self.incoming is not None
        incoming, self.incoming = self.incoming, None
        self._in_transaction = False
        try:
            content = incoming.take()
        except Unavailable as trouble:
            return self._refused(end.problem or self._no_room(trouble))
        finally:
            self._stake.hold(0)
        if end.problem is not None:
            return self._refused(end.problem)
        # It is copied once to be stamped, and both are there until it is accepted, whether the peer is or not.
        accepting = self._terms.backpressure.stake(Use.INCOMING)
        accepting.hold(2 * len(content) if isinstance(content, bytes) else 0)
        try:
            return await self._avatar.finish(content, end.longest_line)
        finally:
            accepting.hold(0)

    def _no_room(self, trouble: Unavailable) -> Reply:
        if trouble.dependency == "memory":
            return replies.NO_ROOM
        self._terms.journal.record("store.unavailable", dependency=trouble.dependency, reason=shown(trouble.reason))
        return replies.STORAGE_FULL

    def _refused(self, problem: Reply) -> Reply:
        self._avatar.refused(problem)
        return problem

    @property
    def _avatar(self) -> InboundSession:
        """The avatar; there is one once MAIL was accepted."""
        assert self._entrance.session is not None
        return self._entrance.session

    def _forget(self) -> None:
        self._in_transaction = False
        self._stake.hold(0)
        if self.incoming is not None:
            self.incoming.drop()
            self.incoming = None
        if self._entrance.session is not None:
            self._entrance.session.reset()


def _said(verdict: Verdict, yes: Reply) -> Reply:
    return yes if isinstance(verdict, Accept) else verdict.reply
