"""What a session on a submission port may do: the avatar of who logged in, or of a relay network's machine.

It differs from the receiving port's in two things: a reverse-path must be one the submitter may send from, and a
forward-path may lead anywhere. What the submitter may is asked at every MAIL, so that an operator's change holds at
once and not only from the next login on.
"""

from collections.abc import Awaitable
from dataclasses import replace
from functools import partial

from mtad.inbound.reception import Judge, Sign
from mtad.inbound.screening import SignerOf
from mtad.inbound.session import InboundSession, Means
from mtad.inbound.signing import Signing
from mtad.interfaces import IDirectory
from mtad.message import headers
from mtad.message.author import authors
from mtad.model.address import Address
from mtad.model.content import Content
from mtad.model.event import Event
from mtad.model.route import Route
from mtad.model.tenant import Submitter
from mtad.model.verdict import Refuse, Verdict
from mtad.policy import authorship
from mtad.policy import submission as submission_policy
from mtad.policy.authorship import Author
from mtad.smtp.grammar import parse_address


class SubmissionSession(InboundSession):
    """The submissions of one submitter."""

    def __init__(self, means: Means, submitter: Submitter, directory: IDirectory) -> None:
        super().__init__(means, submitter)
        self._by = submitter
        self._directory = directory

    async def _validate_from(self, reverse_path: Address | None) -> Verdict:
        standing = await self._renewed()
        domain = None if reverse_path is None else await self._directory.domain(reverse_path.domain)
        verdict = submission_policy.decide(submission_policy.SenderFacts(self._by, reverse_path, domain, standing))
        if isinstance(verdict, Refuse):
            self._rejected("mail", verdict.reason, verdict.reply)
            self.reset()
        return verdict

    async def _renewed(self) -> bool:
        """Take what the directory says of the submitter now; return whether it may submit at all."""
        if self._by.credential is None:
            return True
        mailbox = self._by.credential.mailbox
        credential = await self._directory.credential(mailbox.address)
        if credential is None or credential.mailbox.id != mailbox.id or not credential.mailbox.enabled:
            return False
        self._by = self._submitter = replace(self._by, credential=credential)
        return True

    def _route(self, forward_path: Address) -> Awaitable[Route]:
        return self._means.routing.route_submission(forward_path, self._by.organisation)


def judged_with(directory: IDirectory) -> Judge:
    """Return what judges submissions by the authors that stand in their From fields."""

    async def judge(submitter: Submitter, reverse_path: Address | None, header_block: bytes) -> Verdict:
        own = submitter.own_address(reverse_path)
        missing = own is not None and headers.first(header_block, b"From") is None
        written = (str(own),) if missing else authors(header_block)
        found = None if written is None else tuple([await _author(directory, text) for text in written])
        checked = await _is_checked(directory, submitter, reverse_path)
        return authorship.decide(authorship.AuthorFacts(submitter, found, checked))

    return judge


async def _author(directory: IDirectory, text: str) -> Author:
    try:
        address = parse_address(text)
    except ValueError:
        return Author(None, None)
    return Author(address, await directory.domain(address.domain))


async def _is_checked(directory: IDirectory, submitter: Submitter, reverse_path: Address | None) -> bool:
    whose = submitter.credential.mailbox.address if submitter.credential is not None else reverse_path
    domain = None if whose is None else await directory.domain(whose.domain)
    return domain is None or domain.check_from


def signed_by(signing: Signing) -> Sign:
    """Return what signs submissions: as their author only where the submitter may send as the author as well."""

    async def sign(
        submitter: Submitter, reverse_path: Address | None, content: Content
    ) -> tuple[bytes, tuple[Event, ...]]:
        signed = await signing.sign(
            content,
            organisation=submitter.organisation,
            reverse_path=reverse_path,
            may_author=partial(submission_policy.may_send_as, submitter),
        )
        return signed.header, (signed.event,)

    return sign


def signer_of(signing: Signing) -> SignerOf:
    """Return what says whose signature a submission is due, by the same rule."""

    async def due(submitter: Submitter, reverse_path: Address | None, content: Content) -> str | None:
        signer = await signing.signer(
            content,
            organisation=submitter.organisation,
            reverse_path=reverse_path,
            may_author=partial(submission_policy.may_send_as, submitter),
        )
        return None if signer is None else signer.domain

    return due
