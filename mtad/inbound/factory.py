"""The ports mail comes in by: factories of sessions, and the portal that gives each session its avatar."""

from collections.abc import Callable, Sequence

from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.mail.smtp import IMessageDelivery, SMTPFactory
from zope.interface import Interface, implementer

from mtad.inbound.dialogue import Terms
from mtad.inbound.protocol import SmtpProtocol
from mtad.inbound.session import InboundSession
from mtad.inbound.submission import SubmissionSession
from mtad.model.tenant import Submitter


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


class SmtpFactory(SMTPFactory):
    """Builds the sessions of a port and knows those that are open."""

    noisy = False
    protocol = SmtpProtocol

    def __init__(self, terms: Terms, portal: Portal) -> None:
        super().__init__(portal)
        self.domain = terms.hostname.encode("ascii")
        self._sessions: set[SmtpProtocol] = set()
        self._empty: Deferred[None] | None = None
        self._terms = terms

    def buildProtocol(self, addr: IAddress | None) -> SmtpProtocol:
        """Return a session for a connection."""
        session: SmtpProtocol = super().buildProtocol(addr)
        session.terms = self._terms
        return session

    def came(self, session: SmtpProtocol) -> None:
        """Know a session that begins."""
        self._sessions.add(session)

    def went(self, session: SmtpProtocol) -> None:
        """Forget a session that ended."""
        self._sessions.discard(session)
        if not self._sessions and self._empty is not None:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def stop(self, patience_seconds: float) -> Deferred[None]:
        """Close idle sessions with 421, let the others finish, and fire when none is left or patience is."""
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

    def __init__(self, *, terms: Terms, make_session: Callable[[], InboundSession]) -> None:
        super().__init__(terms, Portal(ReceivingRealm(make_session), [AllowAnonymousAccess()]))


class SubmissionFactory(SmtpFactory):
    """A submission port; `checkers` say who a peer is."""

    def __init__(
        self,
        *,
        terms: Terms,
        make_session: Callable[[Submitter], SubmissionSession],
        checkers: Sequence[ICredentialsChecker],
    ) -> None:
        super().__init__(terms, Portal(SubmissionRealm(make_session), checkers))
