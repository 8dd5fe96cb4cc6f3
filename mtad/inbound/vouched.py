"""What a trusted proxy says of whom it speaks for (XCLIENT): an address, a name, perhaps a login it vouches for.

Only its word stands behind that login: no password is asked for. Everything else holds for it as for any other, so a
mailbox that is switched off cannot be spoken for.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.internet.defer import Deferred
from zope.interface import implementer

from mtad.inbound.credentials import Refused
from mtad.interfaces import IDirectory
from mtad.model.envelope import Peer
from mtad.model.tenant import Submitter
from mtad.smtp.grammar import parse_address

UNKNOWN = "unknown"
"""The host of a peer whose address the proxy does not know; it is in no network."""


class IVouched(ICredentials):
    """A login that nobody proves."""


@implementer(IVouched)
class Vouched:
    """The proxy says that its client is `login`, a mailbox."""

    def __init__(self, login: str) -> None:
        self.login = login


@implementer(ICredentialsChecker)
class VouchedChecker:
    """Lets in whom a proxy vouches for, as the Submitter of the mailbox."""

    credentialInterfaces = (IVouched,)

    def __init__(self, *, directory: IDirectory) -> None:
        self._directory = directory

    def requestAvatarId(self, credentials: Vouched) -> Deferred[Any]:
        """Fire with the Submitter; fail with Refused, or Unavailable when the directory is down."""
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, vouched: Vouched) -> Submitter:
        try:
            address = parse_address(vouched.login)
        except ValueError as wrong:
            raise Refused("the login is no address") from wrong
        credential = await self._directory.credential(address)
        if credential is None:
            raise Refused("nobody logs in with this address")
        if not credential.mailbox.enabled:
            raise Refused("the mailbox is switched off")
        return Submitter(credential.mailbox.organisation, credential)


def spoken_for(peer: Peer, attributes: Mapping[str, str]) -> Peer:
    """Return whom a peer speaks for, who has not said anything yet; what it did not tell is as before."""
    host, port = peer.host, peer.port
    if "ADDR" in attributes:
        host, port = attributes["ADDR"] or UNKNOWN, 0
    if "PORT" in attributes:
        port = int(attributes["PORT"] or 0)
    return replace(peer, host=host, port=port, helo=None, esmtp=False, authenticated=False)
