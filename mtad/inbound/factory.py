"""The receiving port: a factory of sessions, and the portal that gives each its avatar."""

from collections.abc import Callable

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
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
        self.sessions: set[SmtpProtocol] = set()
        self._terms = terms

    def buildProtocol(self, addr: IAddress | None) -> SmtpProtocol:
        """Return a session for a connection."""
        session: SmtpProtocol = super().buildProtocol(addr)
        session.terms = self._terms
        return session

    def stop(self, patience_seconds: float) -> Deferred[None]:
        """Close idle sessions with 421, let the others finish, and fire when none is left or patience is."""
        return Deferred.fromCoroutine(self._stop(patience_seconds))

    async def _stop(self, patience_seconds: float) -> None:
        for session in list(self.sessions):
            session.stop()
        clock = self._terms.clock
        deadline = clock.seconds() + patience_seconds
        while self.sessions and clock.seconds() < deadline:
            pause: Deferred[None] = Deferred()
            clock.callLater(0.05, pause.callback, None)
            await pause
        for session in list(self.sessions):
            session.transport.abortConnection()
