"""End of data: judge the message, stamp it, have it committed, and only then say 250.

The steps 5 to 9 of the journey. A dependency that is down is a 451 and nothing was promised; the one promise is the
reply of `replies.queued`, made after `IAcceptance.accept` fired.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from twisted.logger import Logger

from mtad.inbound.envelopes import Stamp, address_messages
from mtad.inbound.screening import Screened, Screening
from mtad.interfaces import IAcceptance, IJournal, IWallClock
from mtad.message import headers, submission
from mtad.message.authentication_results import without_claims
from mtad.model import replies
from mtad.model.address import Address, path
from mtad.model.content import Content, behind
from mtad.model.envelope import Envelope, Peer
from mtad.model.errors import NoRoom, Unacceptable, Unavailable
from mtad.model.event import Event, Fact
from mtad.model.identity import print_id
from mtad.model.job import Acceptance
from mtad.model.reply import Reply
from mtad.model.route import Route
from mtad.model.tenant import Submitter
from mtad.model.text import shown
from mtad.model.verdict import Accept, Refuse, Verdict
from mtad.policy import content as content_policy

ReceivedHeader = Callable[[Peer, str, list[Address]], bytes]
Judge = Callable[[Submitter, Address | None, bytes], Awaitable[Verdict]]
"""Of a submission, its reverse-path and its header block: may it be from whom it says it is?"""

Sign = Callable[[Submitter, Address | None, Content], Awaitable[tuple[bytes, tuple[Event, ...]]]]
"""Of a submission, its reverse-path and its whole content: fields to put on top of it, and events that tell why."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a peer asked for, whole: who, from whom, where it leads, and the octets. `submitter` None: from outside.

    `longest_line` is the length in octets of its longest line over 998, 0 without any.
    """

    peer: Peer
    envelope: Envelope
    routes: tuple[Route, ...]
    content: Content
    submitter: Submitter | None = None
    longest_line: int = 0


async def by_anybody(submitter: Submitter, reverse_path: Address | None, header_block: bytes) -> Verdict:
    """Let everybody write as anybody."""
    return Accept("any author")


async def unsigned(submitter: Submitter, reverse_path: Address | None, content: Content) -> tuple[bytes, tuple[()]]:
    """Sign nothing."""
    return b"", ()


class Reception:
    """Takes finished transactions into the queue. `lifetime_seconds` is how long delivery is tried.

    What says in Authentication-Results to be by `authserv_id` is so, or is taken out. Who a message is from `screening`
    finds out, and what becomes of it for that.
    Submissions are judged by their authors, completed (`mtad.message.submission`) and given to `sign`; an Unavailable
    that any of it raises is a 451.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        acceptance: IAcceptance,
        clock: IWallClock,
        journal: IJournal,
        hostname: str,
        authserv_id: str,
        lifetime_seconds: float,
        screening: Screening,
        judge: Judge = by_anybody,
        sign: Sign = unsigned,
    ) -> None:
        self._acceptance = acceptance
        self._clock = clock
        self._journal = journal
        self._hostname = hostname
        self._authserv_id = authserv_id
        self._lifetime_seconds = lifetime_seconds
        self._screening = screening
        self._judge = judge
        self._sign = sign

    async def receive(self, transaction: Transaction, received_header: ReceivedHeader) -> Reply:
        """Return the answer to the end of data."""
        try:
            block = headers.block(transaction.content)
            verdict = await self._judged(transaction, block)
            if isinstance(verdict, Refuse):
                self._rejected(transaction, verdict.reason, verdict.reply)
                return verdict.reply
            await self._acceptance.ready()
            screened = await self._screen(transaction, block)
            if screened.refusal is not None:
                refusal = screened.refusal
                self._rejected(transaction, refusal.reason, refusal.reply, **screened.told)
                return refusal.reply
            acceptance = await self._prepare(transaction, block, screened, received_header)
            await self._acceptance.accept(acceptance)
        except (Unavailable, Unacceptable) as trouble:
            reason, reply = _judged(trouble)
            self._rejected(transaction, reason, reply, trouble=shown(str(trouble)))
            return reply
        self._accepted(transaction, acceptance)
        return replies.queued(print_id(acceptance.content_id))

    async def _judged(self, transaction: Transaction, block: bytes) -> Verdict:
        facts = content_policy.ContentFacts(headers.count(block, b"Received"), headers.ends(block))
        verdict = content_policy.decide(facts)
        if isinstance(verdict, Refuse) or transaction.submitter is None:
            return verdict
        return await self._judge(transaction.submitter, transaction.envelope.reverse_path, block)

    async def _screen(self, transaction: Transaction, block: bytes) -> Screened:
        reverse_path, routes, content = transaction.envelope.reverse_path, transaction.routes, transaction.content
        submitter = transaction.submitter
        if submitter is None:
            return await self._screening.received(transaction.peer, reverse_path, routes, content)
        added = submission.missing_from(block, submitter.own_address(reverse_path))
        return await self._screening.submitted(submitter, reverse_path, routes, behind(added, content))

    async def _prepare(
        self, transaction: Transaction, block: bytes, screened: Screened, received_header: ReceivedHeader
    ) -> Acceptance:
        # The body stays as it came, and as it was found to be.
        sound_octets = max(0, len(transaction.content) - len(block) - len(b"\r\n"))
        content_id = self._acceptance.next_id()
        now = self._clock.now()
        reverse_path = transaction.envelope.reverse_path
        forward_paths = [route.forward_path for route in transaction.routes]
        received = received_header(transaction.peer, print_id(content_id), forward_paths)
        content = behind(screened.header + received, self._without_claims(transaction.content))
        events: tuple[Event, ...] = ()
        if transaction.submitter is not None:
            content, events = await self._submitted(transaction, transaction.submitter, received, content_id, now)
            block = headers.block(content)
        stamp = Stamp(
            content_id=content_id,
            next_id=self._acceptance.next_id,
            size=len(content),
            now=now,
            expires_at=now + self._lifetime_seconds,
            message_id=headers.first(block, b"Message-ID"),
            submitter=transaction.submitter,
            events=events,
            parameters=transaction.envelope.parameters,
            longest_line=transaction.longest_line,
            verified=screened.verified,
            quarantines=screened.quarantines,
        )
        messages = address_messages(transaction.peer, reverse_path, transaction.routes, stamp)
        return Acceptance(content_id, content, messages, sound_octets)

    async def _submitted(
        self, transaction: Transaction, submitter: Submitter, received: bytes, content_id: int, now: float
    ) -> tuple[Content, tuple[Event, ...]]:
        """Return a submission's content, complete and signed, and what the signing has to tell."""
        reverse_path = transaction.envelope.reverse_path
        completed = submission.completed(
            self._without_claims(transaction.content),
            printed_id=print_id(content_id),
            domain=reverse_path.domain if reverse_path else self._hostname,
            now=now,
            author=submitter.own_address(reverse_path),
        )
        content = behind(received, completed)
        header, events = await self._sign(submitter, reverse_path, content)
        return behind(header, content), events

    def _without_claims(self, content: Content) -> Content:
        """Return content without results that claim to be ours: whatever was checked before us, we did not."""
        return without_claims(content, headers.block(content), self._authserv_id)

    def _accepted(self, transaction: Transaction, acceptance: Acceptance) -> None:
        noted = {"longest_line": transaction.longest_line} if transaction.longest_line else {}
        for message in acceptance.messages:
            if not message.recipients:
                continue
            self._journal.record(
                "smtp.accepted",
                id=print_id(message.id),
                organisation=message.organisation,
                reverse_path=path(message.reverse_path),
                recipients=len(message.recipients),
                size=message.size,
                peer=transaction.peer.host,
                **noted,
            )

    def _rejected(self, transaction: Transaction, reason: str, reply: Reply, **facts: Fact) -> None:
        self._journal.record(
            "smtp.rejected",
            stage="message",
            reason=reason,
            reply=reply.text,
            peer=transaction.peer.host,
            reverse_path=path(transaction.envelope.reverse_path),
            **facts,
        )


def _judged(trouble: Unavailable | Unacceptable) -> tuple[str, Reply]:
    """Return why a message is not taken for now, and how the peer is told."""
    if isinstance(trouble, Unacceptable):
        return "unacceptable", replies.TEMPORARY_TROUBLE
    if isinstance(trouble, NoRoom):
        return "storage-full", replies.STORAGE_FULL
    return "unavailable", replies.TEMPORARY_TROUBLE
