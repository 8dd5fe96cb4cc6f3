"""What peers show to be let in (credentials of `twisted.cred`), and how it ends when they are not."""

from collections.abc import Callable

from twisted.cred.credentials import IAnonymous, ICredentials, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mtad.model.errors import MtadError
from mtad.smtp.sasl import Proof


class Busy(MtadError):
    """Too many wait, or nobody waits any more; nothing was decided."""


class Paused(MtadError):
    """Too many logins failed: this one was not tried."""


class Refused(UnauthorizedLogin):
    """The peer is not who it claims to be; `reason` is for the log, never for the peer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Visitor:
    """Who wants to be let in, from the address `host`, and may leave before it is known."""

    def __init__(self, host: str) -> None:
        self.host = host
        self._gone = False
        self._waits_for: Deferred[None] | None = None

    def withdraw(self) -> None:
        """Say that the peer is gone: it waits for nothing any more. What is under way goes on."""
        self._gone = True
        if self._waits_for is not None:
            self._waits_for.cancel()

    async def wait(self, begin: Callable[[], "Deferred[None]"]) -> None:
        """Return when what `begin` begins to wait for is there; Busy as soon as nobody asks any more."""
        if self._gone:
            raise Busy("the peer is gone")
        self._waits_for = begin()
        try:
            await self._waits_for
        except defer.CancelledError as gone:
            raise Busy("the peer is gone") from gone
        finally:
            self._waits_for = None


class Claim(UsernamePassword, Visitor):
    """A login by password: who the peer says it is, and as whom it wants to act (empty: as itself)."""

    def __init__(self, authcid: str, password: bytes, authzid: str, host: str) -> None:
        UsernamePassword.__init__(self, authcid.encode("utf-8"), password)
        Visitor.__init__(self, host)
        self.authcid = authcid
        self.authzid = authzid


class IProven(ICredentials):
    """A SCRAM exchange that was gone through."""


@implementer(IProven)
class Proven(Visitor):
    """A login by SCRAM: what the exchange came to."""

    def __init__(self, proof: Proof, host: str) -> None:
        super().__init__(host)
        self.proof = proof


@implementer(IAnonymous)
class Stranger:
    """A peer that did not log in; `host` is its address."""

    def __init__(self, host: str) -> None:
        self.host = host
