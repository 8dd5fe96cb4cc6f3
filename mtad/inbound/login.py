"""How a session's peer comes in: what the steps of AUTH mean, and the reply to each (RFC 4954 §4, RFC 5802 §3).

Who may is the checkers' to say, behind the `portal`; here they are asked, a login is told to the journal, and the
avatar of who was let in is kept. By SCRAM the peer is in only when it took the server's own proof.
"""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.cred.credentials import ICredentials
from twisted.cred.portal import Portal
from twisted.mail.smtp import IMessageDelivery

from mtad.inbound.credentials import Busy, Claim, Paused, Proven, Refused, Stranger
from mtad.inbound.session import InboundSession
from mtad.inbound.verifiers import Verifiers
from mtad.inbound.vouched import Vouched
from mtad.interfaces import IJournal
from mtad.model import replies
from mtad.model.errors import Unavailable
from mtad.model.reply import Reply
from mtad.model.text import shown
from mtad.smtp.commands import LoginStep
from mtad.smtp.sasl import Authenticate, Challenge, Confirm, Proof
from mtad.smtp.scram import Opening
from mtad.smtp.server import Conversation


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a login ended: the reply, and its result and the reason of it for the log."""

    reply: Reply
    result: str
    reason: str = ""


_LOGGED_IN = _Ending(replies.LOGGED_IN, "accepted")


class Entrance:
    """One session's. `verifiers` are there where AUTH is; `channel_binding` tells the connection's (RFC 9266)."""

    def __init__(
        self,
        *,
        portal: Portal,
        conversation: Conversation,
        journal: IJournal,
        verifiers: Verifiers | None,
        channel_binding: Callable[[], bytes | None],
    ) -> None:
        self.session: InboundSession | None = None
        self._portal = portal
        self._conversation = conversation
        self._journal = journal
        self._verifiers = verifiers
        self._channel_binding = channel_binding
        self._visitor: Claim | Proven | None = None
        self._unconfirmed: tuple[Proof, InboundSession] | None = None

    async def respond(self, step: LoginStep, host: str) -> Reply:
        """Return the reply to a step of AUTH that a peer at the address `host` took."""
        match step:
            case Authenticate():
                return await self._try(step, Claim(step.authcid, step.password, step.authzid, host), host)
            case Opening():
                return await self._ask(step, host)
            case Proof():
                return await self._try(step, Proven(step, host), host)
            case Confirm():
                return self._let_in(host)

    async def pass_by(self, host: str) -> None:
        """Take the avatar of a peer that did not log in; raises UnauthorizedLogin when it has to."""
        self.session = await self._avatar(Stranger(host))

    async def vouch(self, login: str) -> None:
        """Take the avatar of the mailbox that a trusted proxy names; raises Refused when there is none."""
        self.session = await self._avatar(Vouched(login))

    def forget(self) -> None:
        """Forget who came in."""
        self.session = None
        self._unconfirmed = None

    def leave(self) -> None:
        """Say that the peer is gone: a login that waits is withdrawn."""
        if self._visitor is not None:
            self._visitor.withdraw()

    async def _ask(self, asked: Opening, host: str) -> Reply:
        assert self._verifiers is not None
        try:
            step = await self._verifiers.question(asked, self._channel_binding())
        except Unavailable as trouble:
            return self._ended(asked, _deferred(trouble), host)
        if isinstance(step, Challenge):
            return self._conversation.ask(step)
        return await self._try(step, Proven(step, host), host)

    async def _try(self, step: Authenticate | Proof, visitor: Claim | Proven, host: str) -> Reply:
        """Return the reply to a login that is complete but for SCRAM's confirmation."""
        self._visitor = visitor
        try:
            avatar = await self._avatar(visitor)
        except Refused as refused:
            return self._ended(step, _Ending(replies.LOGIN_REFUSED, "refused", refused.reason), host)
        except Paused as paused:
            return self._ended(step, _Ending(replies.LOGINS_PAUSED, "throttled", str(paused)), host)
        except (Busy, Unavailable) as trouble:
            return self._ended(step, _deferred(trouble), host)
        finally:
            self._visitor = None
        if isinstance(step, Proof) and step.final is not None:
            self._unconfirmed = step, avatar
            return self._conversation.ask(step.final)
        self.session = avatar
        return self._ended(step, _LOGGED_IN, host)

    def _let_in(self, host: str) -> Reply:
        assert self._unconfirmed is not None
        (proof, self.session), self._unconfirmed = self._unconfirmed, None
        return self._ended(proof, _LOGGED_IN, host)

    async def _avatar(self, credentials: ICredentials) -> InboundSession:
        _, avatar, _ = await self._portal.login(credentials, None, IMessageDelivery)
        assert isinstance(avatar, InboundSession)
        return avatar

    def _ended(self, step: Authenticate | Opening | Proof, ending: _Ending, host: str) -> Reply:
        self._journal.record(
            "smtp.login",
            peer=host,
            mechanism=step.mechanism,
            result=ending.result,
            reason=ending.reason,
            user=shown(step.authcid),
        )
        return ending.reply


def _deferred(trouble: Exception) -> _Ending:
    return _Ending(replies.LOGIN_TROUBLE, "deferred", shown(str(trouble)))
