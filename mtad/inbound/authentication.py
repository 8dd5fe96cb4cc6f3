"""Who a peer of a submission port is: by a password, or by where it comes from (checkers of `twisted.cred`).

A password is verified elsewhere than in the reactor, at most `AT_ONCE` at a time; others wait briefly, each peer in its
turn so that none keeps the others out, then the peer is told to come again. A success is remembered for ten minutes,
under a keyed hash of the address, the stored hash and the password: what the directory says of the address is asked
each time, so a changed password is forgotten with the news of it. An address nobody logs in with takes as long to
refuse as a wrong password does.
"""

import hmac
from collections.abc import Callable, Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IAnonymous, IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mtad.inbound.turns import Crowded, Turns
from mtad.interfaces import IDirectory, IOffload
from mtad.model.address import Address
from mtad.model.errors import MtadError
from mtad.model.tenant import Submitter
from mtad.policy.peer import one_peer
from mtad.policy.submission import RelayNetwork, relayed_for
from mtad.smtp.grammar import parse_address

AT_ONCE = 2
PATIENCE_SECONDS = 5.0
MAX_WAITING = 3  # of one peer
REMEMBER_SECONDS = 600.0
MAX_REMEMBERED = 10_000

Verify = Callable[[str | None, bytes], bool]
"""Whether a password made a stored hash; None is nobody's, and takes as long. A function of a module."""


class Busy(MtadError):
    """Too many passwords wait to be verified; nothing was decided."""


class Refused(UnauthorizedLogin):
    """The peer is not who it claims to be; `reason` is for the log, never for the peer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Claim(UsernamePassword):
    """A login as the peer at `host` claims it: who it is, and as whom it wants to act (empty: as itself)."""

    def __init__(self, authcid: str, password: bytes, authzid: str, host: str) -> None:
        super().__init__(authcid.encode("utf-8"), password)
        self.authcid = authcid
        self.authzid = authzid
        self.host = host
        self._withdrawn = False
        self._turn: Deferred[None] | None = None

    def withdraw(self) -> None:
        """Say that the peer is gone: nothing waits for its turn any more. What is under way goes on."""
        self._withdrawn = True
        if self._turn is not None:
            self._turn.cancel()

    async def turn(self, turns: Turns) -> None:
        """Return when it is this claim's turn to be verified; Busy when that takes too long, or nobody asks now."""
        if self._withdrawn:
            raise Busy("the peer is gone")
        self._turn = turns.take(one_peer(self.host))
        try:
            await self._turn
        except Crowded as crowded:
            raise Busy(str(crowded)) from crowded
        except defer.CancelledError as gone:
            raise Busy("the peer is gone") from gone
        finally:
            self._turn = None


@implementer(IAnonymous)
class Stranger:
    """A peer that did not log in; `host` is its address."""

    def __init__(self, host: str) -> None:
        self.host = host


@implementer(ICredentialsChecker)
class PasswordChecker:
    """Lets in who knows the password of a mailbox, as its Submitter. `key` is random and this process' own."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self, *, directory: IDirectory, offload: IOffload, clock: IReactorTime, verify: Verify, key: bytes
    ) -> None:
        self._directory = directory
        self._offload = offload
        self._clock = clock
        self._verify = verify
        self._key = key
        self._turns = Turns(at_once=AT_ONCE, most_waiting=MAX_WAITING, patience=PATIENCE_SECONDS, clock=clock)
        self._remembered: dict[bytes, float] = {}

    def requestAvatarId(self, credentials: Claim) -> Deferred[Any]:
        """Fire with the Submitter; fail with Refused, Busy, or Unavailable when the directory is down."""
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, claim: Claim) -> Submitter:
        address = _address(claim.authcid)
        credential = None if address is None else await self._directory.credential(address)
        stored = None if credential is None else credential.password_hash
        right = await self._is_right(claim, claim.authcid if address is None else address.key, stored)
        if credential is None or stored is None:
            raise Refused("nobody logs in with this address")
        if not right:
            raise Refused("wrong password")
        if not credential.mailbox.enabled:
            raise Refused("the mailbox is switched off")
        acting = credential.mailbox.address if not claim.authzid else _address(claim.authzid)
        if acting is None or acting.key != credential.mailbox.address.key:
            raise Refused("asks to act for somebody else")
        return Submitter(credential.mailbox.organisation, credential)

    async def _is_right(self, claim: Claim, who: str, stored: str | None) -> bool:
        password = claim.password
        token = hmac.digest(self._key, b"\0".join((who.encode(), (stored or "").encode(), password)), "sha256")
        if self._remembers(token):
            return True
        await claim.turn(self._turns)
        try:
            # Whoever waited may have waited for the same question.
            right = self._remembers(token) or await self._offload.run(self._verify, stored, password)
            if right:
                self._remember(token)
            return right
        finally:
            self._turns.give_back()

    def _remembers(self, token: bytes) -> bool:
        return self._remembered.get(token, 0.0) > self._clock.seconds()

    def _remember(self, token: bytes) -> None:
        """Remember a success, unless it is one already; the oldest goes where there is no room."""
        if self._remembers(token):
            return
        self._remembered.pop(token, None)
        while len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[token] = self._clock.seconds() + REMEMBER_SECONDS


@implementer(ICredentialsChecker)
class NetworkChecker:
    """Lets in machines of the relay networks, each as the Submitter of its network's organisation."""

    credentialInterfaces = (IAnonymous,)

    def __init__(self, *, directory: IDirectory, networks: Sequence[RelayNetwork]) -> None:
        self._directory = directory
        self._networks = networks

    def requestAvatarId(self, credentials: Stranger) -> Deferred[Any]:
        """Fire with the Submitter; fail with Refused, or Unavailable when the directory is down."""
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, stranger: Stranger) -> Submitter:
        name = relayed_for(stranger.host, self._networks)
        if name is None:
            raise Refused("no relay network")
        organisation = await self._directory.organisation(name)
        if organisation is None:
            raise Refused("the relay network's organisation does not exist")
        return Submitter(organisation)


def _address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except ValueError:
        return None
