"""The ports mail comes in by: factories of sessions, and the portal that gives each session its avatar.

A connection is judged before anything is read from it: from a proxy's network it begins with a PROXY header, and a
session there is no room for is refused. That costs one write where it can be said in clear, and nothing where TLS would
have to be begun for it.
"""

from collections.abc import Callable, Sequence

from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import Protocol
from twisted.mail.smtp import IMessageDelivery, SMTPFactory
from zope.interface import Interface, implementer

from mtad.inbound.admission import Admission
from mtad.inbound.dialogue import Terms
from mtad.inbound.protocol import SmtpProtocol
from mtad.inbound.proxied import NO_REPLY, ProxiedProtocol
from mtad.inbound.session import InboundSession
from mtad.inbound.submission import SubmissionSession
from mtad.inbound.transport import host_of
from mtad.model import replies
from mtad.model.reply import Reply
from mtad.model.tenant import Submitter
from mtad.model.verdict import Refuse
from mtad.policy.peer import Network, within


@implementer(IRealm)
class ReceivingRealm:
    """Everybody may talk to the receiving port, and is nobody in particular."""

    def __init__(self, make_session: Callable[[], InboundSession]) -> None:
        self._make_session = make_session

    def requestAvatar(
        self, avatarId: object, mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], object, Callable[[], None]]:
        """Return a session of its own for each login; there is nothing to log out from."""
        return _avatar(self._make_session(), interfaces)


@implementer(IRealm)
class SubmissionRealm:
    """Who talks to a submission port is a Submitter."""

    def __init__(self, make_session: Callable[[Submitter], SubmissionSession]) -> None:
        self._make_session = make_session

    def requestAvatar(
        self, avatarId: object, mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], object, Callable[[], None]]:
        """Return a session of its own for each login; there is nothing to log out from."""
        assert isinstance(avatarId, Submitter)
        return _avatar(self._make_session(avatarId), interfaces)


def _avatar(
    session: InboundSession, interfaces: tuple[type[Interface], ...]
) -> tuple[type[Interface], object, Callable[[], None]]:
    if IMessageDelivery not in interfaces:
        raise NotImplementedError("only IMessageDelivery is served here")
    return IMessageDelivery, session, lambda: None


class Refusal(Protocol):
    """Says one reply and closes."""

    transport: ITransport

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    def connectionMade(self) -> None:
        """Say it."""
        self.transport.write(self._reply.encode())
        self.transport.loseConnection()


class SmtpFactory(SMTPFactory):
    """Builds the sessions of a port and knows those that are open.

    `admission` is shared by all ports; connections from the networks of `proxies` begin with a PROXY header.
    """

    noisy = False
    protocol = SmtpProtocol

    def __init__(self, terms: Terms, portal: Portal, admission: Admission, proxies: Sequence[Network]) -> None:
        super().__init__(portal)
        self.domain = terms.hostname.encode("ascii")
        self._sessions: dict[SmtpProtocol, str] = {}
        self._empty: Deferred[None] | None = None
        self._stopping = False
        self._draining = False
        self._terms = terms
        self._admission = admission
        self._proxies = tuple(proxies)

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Return what a connection begins with: a session, what reads a proxy's header, a refusal, or nothing."""
        host = host_of(addr)
        if not within(host, self._proxies):
            return self._session(addr)
        # It takes room as a session does; the balancer's, until the header says whose it is.
        verdict = self._admission.enter(host)
        if isinstance(verdict, Refuse):
            return self._refused(verdict, host)
        return ProxiedProtocol(
            host=host,
            clock=self._terms.clock,
            journal=self._terms.journal,
            leave=lambda: self._admission.leave(host),
            make_session=self._session,
        )

    def _session(self, addr: IAddress | None) -> Protocol | None:
        """Return a session for a connection that is from `addr`, or what refuses it."""
        host = host_of(addr)
        if self._stopping or self._draining:
            return self._refusal(replies.SHUTTING_DOWN)
        verdict = self._terms.backpressure.greet()
        if not isinstance(verdict, Refuse):
            verdict = self._admission.enter(host)
        if isinstance(verdict, Refuse):
            return self._refused(verdict, host)
        session: SmtpProtocol = super().buildProtocol(addr)
        session.terms = self._terms
        session.source = addr
        return session

    def _refused(self, verdict: Refuse, host: str) -> Protocol | None:
        said = NO_REPLY if self._terms.implicit_tls else verdict.reply.text
        self._terms.journal.record(
            "smtp.rejected", stage="connect", reason=verdict.reason, reply=said, peer=host, port=self._terms.port
        )
        return self._refusal(verdict.reply)

    def _refusal(self, reply: Reply) -> Protocol | None:
        return None if self._terms.implicit_tls else Refusal(reply)

    def came(self, session: SmtpProtocol) -> None:
        """Know a session that begins."""
        self._sessions[session] = host_of(session.source)

    def went(self, session: SmtpProtocol) -> None:
        """Forget a session that ended."""
        self._admission.leave(self._sessions.pop(session))
        if not self._sessions and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)

    @property
    def session_count(self) -> int:
        """How many sessions are open."""
        return len(self._sessions)

    def drain(self, on: bool) -> None:
        """Refuse new sessions and close those that are open with 421, each when nothing is in hand; or no more."""
        self._draining = on
        for session in list(self._sessions) if on else ():
            session.stop()

    def stop(self, patience_seconds: float) -> Deferred[None]:
        """Close idle sessions with 421, let the others finish, and fire when none is left or patience is."""
        self._stopping = True
        for session in list(self._sessions):
            session.stop()
        if not self._sessions:
            return succeed(None)
        self._empty = Deferred()
        return self._empty.addTimeout(patience_seconds, self._terms.clock, self._break_off)

    def _break_off(self, result: object, timeout_seconds: float) -> None:
        self._empty = None
        for session in list(self._sessions):
            session.transport.abortConnection()


class ReceivingFactory(SmtpFactory):
    """The receiving port, where nobody logs in."""

    def __init__(
        self,
        *,
        terms: Terms,
        admission: Admission,
        proxies: Sequence[Network],
        make_session: Callable[[], InboundSession],
    ) -> None:
        portal = Portal(ReceivingRealm(make_session), [AllowAnonymousAccess()])
        super().__init__(terms, portal, admission, proxies)


class SubmissionFactory(SmtpFactory):
    """A submission port; `checkers` say who a peer is."""

    def __init__(
        self,
        *,
        terms: Terms,
        admission: Admission,
        proxies: Sequence[Network],
        make_session: Callable[[Submitter], SubmissionSession],
        checkers: Sequence[ICredentialsChecker],
    ) -> None:
        super().__init__(terms, Portal(SubmissionRealm(make_session), checkers), admission, proxies)
