"""Signing: what a domain of the sender's organisation says of its mail, made once, at acceptance (DESIGN D9).

It says whose keys sign and with what, or why nothing does, as the event `signed` of the timeline. A domain without a
key, or without the right to sign, is no reason to refuse a message; a directory that is down is one to defer it. Only
the arithmetic leaves the reactor; between the blocks of a long body others have their turn. A message whose header is
larger than what is looked at is not signed: it is no person's work.
"""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from mtad.interfaces import IDirectory, IOffload, IWallClock
from mtad.message import headers
from mtad.message.author import author
from mtad.model import event
from mtad.model.address import Address
from mtad.model.content import Content, blocks
from mtad.model.dkim import SigningKey, record_name
from mtad.model.errors import Unavailable
from mtad.model.event import Event, Fact
from mtad.model.tenant import Domain
from mtad.model.text import shown
from mtad.policy.signing import Signer, SigningFacts, decide
from mtad.smtp.grammar import parse_address
from mtad.verification.canonical import BodyHash
from mtad.verification.signing import SignedFields, Terms, signature

MayAuthor = Callable[[Address, Domain], bool]
"""Whether the submitter may write as that address, in that domain."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What was made: the DKIM-Signature fields to put on top of the content, if any, and what the timeline is told."""

    header: bytes
    event: Event


class Signing:
    """Signs what organisations submit, and the reports of the organisation `system`."""

    def __init__(self, *, directory: IDirectory, offload: IOffload, clock: IReactorTime, wall: IWallClock) -> None:
        self._directory = directory
        self._offload = offload
        self._clock = clock
        self._wall = wall

    async def sign(
        self, content: Content, *, organisation: int, reverse_path: Address | None, may_author: MayAuthor
    ) -> Signed:
        """Return the signatures of content that nothing is added to any more but trace fields; raises Unavailable."""
        block = headers.block(content)
        if _is_too_large(block):
            return self._unsigned("the header is too large to be signed")
        signer = decide(await self._facts(block, organisation, reverse_path, may_author))
        if signer is None:
            return self._unsigned("neither the author's nor the envelope's domain is the sender's to sign for")
        keys = await self._directory.keys(signer.domain)
        if not keys:
            return self._unsigned("the domain has no active key", signer)
        body_hash = await self._body_hash(headers.body(content, block))
        made = await self._signatures(SignedFields(headers.fields(block)), body_hash, keys)
        return Signed(made, self._event(signer, selectors=[key.selector for key in keys]))

    async def signer(
        self, content: Content, *, organisation: int, reverse_path: Address | None, may_author: MayAuthor
    ) -> Signer | None:
        """Return who content is due to be signed by, whether there is a key or not; raises Unavailable."""
        block = headers.block(content)
        if _is_too_large(block):
            return None
        return decide(await self._facts(block, organisation, reverse_path, may_author))

    async def sign_report(self, content: Content, organisation: int) -> tuple[bytes, Event]:
        """Return the signatures of a report that this server writes as `organisation`, and what its timeline is told.

        What keeps it from being signed does not keep it from going out: somebody waits for it.
        """
        try:
            signed = await self.sign(content, organisation=organisation, reverse_path=None, may_author=_itself)
        except Unavailable as trouble:
            signed = self._unsigned(shown(str(trouble)))
        return signed.header, signed.event

    async def _facts(
        self, block: bytes, organisation: int, reverse_path: Address | None, may_author: MayAuthor
    ) -> SigningFacts:
        written_by = _address(author(block))
        theirs = None if written_by is None else await self._directory.domain(written_by.domain)
        return SigningFacts(
            organisation=organisation,
            author=theirs,
            may_author=written_by is not None and theirs is not None and may_author(written_by, theirs),
            envelope=None if reverse_path is None else await self._directory.domain(reverse_path.domain),
        )

    async def _body_hash(self, body: Content) -> bytes:
        body_hash = BodyHash()
        for number, block in enumerate(blocks(body)):
            if number:
                await deferLater(self._clock, 0)
            body_hash.update(block)
        return body_hash.digest()

    async def _signatures(self, fields: SignedFields, body_hash: bytes, keys: tuple[SigningKey, ...]) -> bytes:
        made = []
        for key in keys:
            draft = fields.draft(Terms(key.domain, key.selector, key.algorithm, self._wall.now()), body_hash)
            try:
                number = await self._offload.run(signature, key.algorithm, key.private_key, draft.digest)
            except ValueError as error:
                raise Unavailable("postgres", f"{record_name(key.selector, key.domain)}: {error}") from error
            made.append(draft.finished(number))
        return b"".join(made)

    def _unsigned(self, reason: str, signer: Signer | None = None) -> Signed:
        return Signed(b"", self._event(signer, reason=reason))

    def _event(self, signer: Signer | None, **facts: Fact) -> Event:
        whose: dict[str, Fact] = {} if signer is None else {"domain": signer.domain, "because": signer.because}
        return Event(event.SIGNED, self._wall.now(), {**whose, **facts})


def _is_too_large(block: bytes) -> bool:
    return not (headers.ends(block) and headers.is_whole(block))


def _itself(author: Address, domain: Domain) -> bool:
    """Let the server write as whom it does: what it writes is its own."""
    return True


def _address(text: str | None) -> Address | None:
    if text is None:
        return None
    try:
        return parse_address(text)
    except ValueError:
        return None
