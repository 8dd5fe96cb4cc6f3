"""Who a peer of a submission port is: by a password, or by where it comes from (checkers of `twisted.cred`).

Whoever shows a password, or proves to know it, comes through the gate, where it may have to wait. A password is
verified elsewhere than in the reactor, at most `AT_ONCE` at a time; others wait briefly, each peer in its turn so that
none keeps the others out, then the peer is told to come again. A success is remembered for ten minutes, under a keyed
hash of the address, the stored hash and the password: what the directory says of the address is asked each time, so a
changed password is forgotten with the news of it. An address nobody logs in with takes as long to refuse as a wrong
password does.
"""

import hmac
from collections.abc import Callable, Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IAnonymous, IUsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mtad.inbound.credentials import Busy, Claim, IProven, Proven, Refused, Stranger
from mtad.inbound.gate import Gate
from mtad.inbound.turns import Crowded, Turns
from mtad.interfaces import IDirectory, IOffload
from mtad.model.address import Address
from mtad.model.tenant import Credential, Submitter
from mtad.policy.peer import one_peer
from mtad.policy.submission import RelayNetwork, relayed_for
from mtad.smtp.grammar import parse_address
from mtad.smtp.sasl import Proof

AT_ONCE = 2
PATIENCE_SECONDS = 5.0
MAX_WAITING = 3  # of one peer
REMEMBER_SECONDS = 600.0
MAX_REMEMBERED = 10_000

Verify = Callable[[str | None, bytes], bool]
"""Whether a password made a stored hash; None is nobody's, and takes as long. A function of a module."""


@implementer(ICredentialsChecker)
class PasswordChecker:
    """Lets in who knows the password of a mailbox, as its Submitter. `key` is random and this process' own."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self, *, directory: IDirectory, gate: Gate, offload: IOffload, clock: IReactorTime, verify: Verify, key: bytes
    ) -> None:
        self._directory = directory
        self._gate = gate
        self._offload = offload
        self._clock = clock
        self._verify = verify
        self._key = key
        self._turns = Turns(at_once=AT_ONCE, most_waiting=MAX_WAITING, patience=PATIENCE_SECONDS, clock=clock)
        self._remembered: dict[bytes, float] = {}

    def requestAvatarId(self, credentials: Claim) -> Deferred[Any]:
        """Fire with the Submitter; fail with Refused, Paused, Busy, or Unavailable when the directory is down."""
        account = _account(credentials.authcid)
        return Deferred.fromCoroutine(self._gate.through(credentials, account, lambda: self._check(credentials)))

    async def _check(self, claim: Claim) -> Submitter:
        address = _address(claim.authcid)
        credential = None if address is None else await self._directory.credential(address)
        stored = None if credential is None else credential.password_hash
        right = await self._is_right(claim, _account(claim.authcid), stored)
        if credential is None or stored is None:
            raise Refused("nobody logs in with this address")
        if not right:
            raise Refused("wrong password")
        return _submitter(credential, claim.authzid)

    async def _is_right(self, claim: Claim, who: str, stored: str | None) -> bool:
        password = claim.password
        token = hmac.digest(self._key, b"\0".join((who.encode(), (stored or "").encode(), password)), "sha256")
        if self._remembers(token):
            return True
        try:
            await claim.wait(lambda: self._turns.take(one_peer(claim.host)))
        except Crowded as crowded:
            raise Busy(str(crowded)) from crowded
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
class ScramChecker:
    """Lets in who proved to know the password of a mailbox' verifier, as its Submitter."""

    credentialInterfaces = (IProven,)

    def __init__(self, *, directory: IDirectory, gate: Gate) -> None:
        self._directory = directory
        self._gate = gate

    def requestAvatarId(self, credentials: Proven) -> Deferred[Any]:
        """Fire with the Submitter; fail with Refused, Paused, Busy, or Unavailable when the directory is down."""
        account = _account(credentials.proof.authcid)
        return Deferred.fromCoroutine(self._gate.through(credentials, account, lambda: self._check(credentials.proof)))

    async def _check(self, proof: Proof) -> Submitter:
        address = _address(proof.authcid)
        credential = None if address is None else await self._directory.credential(address)
        if credential is None or credential.scram is None:
            raise Refused("nobody logs in with this address by SCRAM")
        # The password may have changed since the question was asked.
        if proof.wrong or credential.scram != proof.verifier:
            raise Refused(proof.wrong or "wrong password")
        return _submitter(credential, proof.authzid)


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


def _submitter(credential: Credential, authzid: str) -> Submitter:
    """Return who logged in with a credential and asks to act for `authzid`; Refused when it may not."""
    own = credential.mailbox.address
    if not credential.mailbox.enabled:
        raise Refused("the mailbox is switched off")
    acting = own if not authzid else _address(authzid)
    if acting is None or acting.key != own.key:
        raise Refused("asks to act for somebody else")
    return Submitter(credential.mailbox.organisation, credential)


def _account(authcid: str) -> str:
    """Return what logins of one name count as: the address' key, or what is no address as it is."""
    address = _address(authcid)
    return authcid if address is None else address.key


def _address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except ValueError:
        return None
