"""The receiving port: a factory of sessions, and the portal that gives each its avatar."""

from collections.abc import Callable

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.mail.smtp import IMessageDelivery, SMTPFactory
from zope.interface import Interface, implementer

from mtad.inbound.protocol import SmtpProtocol, Terms
from mtad.inbound.session import InboundSession


@implementer(IRealm)
class ReceivingRealm:
    """Everybody may talk to the receiving port, and is nobody in particular."""

    def __init__(self, make_session: Callable[[], InboundSession]) -> None:
        self._make_session = make_session

    def requestAvatar(
        self, avatarId: object, mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], object, Callable[[], None]]:
        """Return a session of its own for each login; there is nothing to log out from."""
        if IMessageDelivery not in interfaces:
            raise NotImplementedError("only IMessageDelivery is served here")
        return IMessageDelivery, self._make_session(), lambda: None


class ReceivingFactory(SMTPFactory):
    """Builds the sessions of the receiving port and knows those that are open."""

    noisy = False
    protocol = SmtpProtocol

    def __init__(self, *, terms: Terms, make_session: Callable[[], InboundSession]) -> None:
        super().__init__(Portal(ReceivingRealm(make_session), [AllowAnonymousAccess()]))
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
