"""Verification: finds out who a message is from, once it has come in whole.

SPF (RFC 7208), DKIM (RFC 6376), ARC (RFC 8617), DMARC (RFC 9989) and iprev (RFC 8601 §3) are `mtad.verification`'s,
which never waits; what it lacks of the DNS is resolved in between, as much as possible at once. A body is hashed once,
and between its blocks others have their turn, as they have behind each step over a large header. What is not wanted is
not looked at. What follows from the results is `mtad.policy.authentication`'s to say.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from mtad.inbound.lookups import Lookups
from mtad.interfaces import IResolver, IWallClock
from mtad.message import headers
from mtad.message.authentication_fields import Subject
from mtad.message.authentication_results import dmarc_passed
from mtad.message.author import author_domains
from mtad.model.address import Address
from mtad.model.answer import Answer, Kind, MailExchange, Question, Record, Status
from mtad.model.authentication import Authentication, Checks, Dkim, Dmarc, Iprev, Result, Spf, Strictness
from mtad.model.content import Content, blocks
from mtad.model.text import shown
from mtad.policy.peer import address_of
from mtad.smtp.grammar import DOMAIN_OCTETS, parse_domain
from mtad.verification import arc, dkim, dmarc, iprev, spf
from mtad.verification.canonical import BodyForm, BodyHashes
from mtad.verification.claims import Digests
from mtad.verification.dmarc import Identifiers
from mtad.verification.facts import Facts, NotYetKnown
from mtad.verification.signed_header import Header

T = TypeVar("T")

LARGE_HEADER_OCTETS = 100_000
"""What is done with a larger header in one step is worth a turn of the others."""

MAX_ANSWERS_TOLD = 100
_ANSWER_CHARACTERS = 200
_RECORDS_TOLD = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """What there is somebody to make something of. Whoever wants DMARC wants SPF and DKIM as well."""

    spf: bool
    dkim: bool
    dmarc: bool

    @property
    def anything(self) -> bool:
        """Whether there is anything to find out."""
        return self.spf or self.dkim or self.dmarc


def wanted(all_checks: Iterable[Checks]) -> Wanted:
    """Return what these domains want together."""
    every = tuple(all_checks)
    by_dmarc = any(checks.dmarc is not Strictness.OFF for checks in every)
    return Wanted(
        spf=by_dmarc or any(checks.spf is not Strictness.OFF for checks in every),
        dkim=by_dmarc or any(checks.dkim is not Strictness.OFF for checks in every),
        dmarc=by_dmarc,
    )


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whose mail a submission is by its login: the domain of its reverse-path, and the one whose signature it is due.

    None where there is none.
    """

    envelope: str | None
    signer: str | None


class VerificationService(Service):
    """Verifies messages. `hostname` is who asks (RFC 7208 §7.3)."""

    name = "verification"

    def __init__(self, *, resolver: IResolver, clock: IReactorTime, wall: IWallClock, hostname: str) -> None:
        self._resolver = resolver
        self._clock = clock
        self._wall = wall
        self._hostname = hostname

    def verify(self, subject: Subject, content: Content, wants: Wanted) -> Deferred[Authentication]:
        """Fire with what is found out of mail from outside; fail with Unavailable when its content cannot be read."""
        return Deferred.fromCoroutine(self._verify(subject, content, wants))

    def verify_submitted(self, vouched: Vouched, content: Content, wants: Wanted) -> Deferred[Authentication]:
        """Fire with what is found out of what was submitted here: the login stands for SPF and DKIM (DESIGN D12)."""
        return Deferred.fromCoroutine(self._verify_submitted(vouched, content, wants))

    async def _verify(self, subject: Subject, content: Content, wants: Wanted) -> Authentication:
        lookups = Lookups(self._resolver, self._clock)
        block = headers.block(content)
        authors = _authors(block) if wants.dmarc else ()
        header = Header(headers.raw_fields(block), whole=headers.is_whole(block))
        await self._turn(block)
        planned = dkim.plan(header) if wants.dkim else dkim.plan(Header(()))
        await self._turn(block)
        chain = arc.plan(header) if wants.dmarc else arc.plan(Header(()))
        await self._turn(block)
        judged = authors if len(authors) <= dmarc.MAX_AUTHORS else ()
        soon = (*planned.questions, *chain.questions, *map(_policy_question, judged))
        found, peer = await lookups.run(partial(self._of_peer, subject=subject, wants=wants, soon=soon))
        digests = await self._digests(headers.body(content, block), planned.forms | chain.forms)
        at = self._wall.now()
        signatures = await lookups.run(lambda facts: dkim.verify(facts, planned, digests, at=at))
        await self._turn(block)
        passed = partial(dmarc_passed, authors=authors)
        sealed = await lookups.run(lambda facts: arc.validate(facts, chain, digests, at=at, dmarc_passed=passed))
        await self._turn(block)
        return await self._concluded(lookups, authors, Authentication(found, signatures, sealed, iprev=peer), wants)

    async def _verify_submitted(self, vouched: Vouched, content: Content, wants: Wanted) -> Authentication:
        lookups = Lookups(self._resolver, self._clock)
        authors = _authors(headers.block(content)) if wants.dmarc else ()
        by_login = "submitted here"
        found = Authentication(
            spf=(Spf(Result.PASS, "mailfrom", vouched.envelope, by_login),) if vouched.envelope else (),
            dkim=(Dkim(Result.PASS, vouched.signer, "", reason=by_login),) if vouched.signer else (),
        )
        return await self._concluded(lookups, authors, found, wants)

    async def _concluded(
        self, lookups: Lookups, authors: tuple[str, ...], found: Authentication, wants: Wanted
    ) -> Authentication:
        """Return the results with DMARC's, and the answers they rest on."""
        aligned = Dmarc(Result.NONE)
        if wants.dmarc:
            passed, undecided = (
                _identifiers(found.spf, found.dkim, result) for result in (Result.PASS, Result.TEMPERROR)
            )
            aligned = await lookups.run(lambda facts: dmarc.evaluate(facts, authors, passed, undecided))
        answers = tuple(map(_told, islice(lookups.used.values(), MAX_ANSWERS_TOLD)))
        return Authentication(found.spf, found.dkim, found.arc, aligned, found.iprev, answers)

    def _of_peer(
        self, facts: Facts, *, subject: Subject, wants: Wanted, soon: tuple[Question, ...]
    ) -> tuple[tuple[Spf, ...], Iprev]:
        """Return what the DNS says of the peer; what is wanted `soon` is asked for at the same time."""
        facts.want(soon)
        address = address_of(subject.ip)
        if address is None:
            return (), Iprev(Result.NONE)
        check = partial(spf.check, facts, ip=str(address), helo=subject.helo, hostname=self._hostname)
        at = self._wall.now()
        # The first is the one that counts.
        identities: tuple[Address | None, ...] = (None,)
        if subject.reverse_path is not None:
            identities = (subject.reverse_path, None)
        found = [_if_known(partial(check, sender=sender, at=at)) for sender in identities if wants.spf]
        name = _if_known(lambda: iprev.check(facts, str(address)))
        return tuple(each for each in found if each), name or Iprev(Result.NONE)

    async def _digests(self, body: Content, forms: frozenset[BodyForm]) -> Digests:
        hashes = BodyHashes(forms)
        for number, block in enumerate(blocks(body) if forms else ()):
            if number:
                await deferLater(self._clock, 0)
            hashes.update(block)
        return hashes.digests()

    async def _turn(self, block: bytes) -> None:
        if len(block) > LARGE_HEADER_OCTETS:
            await deferLater(self._clock, 0)


def _if_known(check: Callable[[], T]) -> T | None:
    """Return what a check finds, None when it lacks something: then all of the run will be thrown away."""
    with suppress(NotYetKnown):
        return check()
    return None


def _authors(block: bytes) -> tuple[str, ...]:
    """Return the domains of the authors as A-labels; none when one of them cannot be one."""
    written = author_domains(block)
    if len(written) > dmarc.MAX_AUTHORS:
        return written
    if any(len(domain) > DOMAIN_OCTETS for domain in written):
        return ()
    try:
        return tuple(dict.fromkeys(map(parse_domain, written)))
    except ValueError:
        return ()


def _identifiers(found: tuple[Spf, ...], signatures: tuple[Dkim, ...], result: Result) -> Identifiers:
    """Return what has that result: of the envelope only the identity that counts (RFC 9989 §4.4)."""
    return Identifiers(
        spf=next((each.domain for each in found[:1] if each.result is result), None),
        dkim=tuple(each.domain for each in signatures if each.result is result),
    )


def _policy_question(author: str) -> Question:
    return Question(f"_dmarc.{author}", Kind.TXT)


def _told(answer: Answer) -> str:
    """Return an answer on a line, fit to be shown."""
    if answer.status is not Status.FOUND:
        return shown(f"{answer.question}: {answer.status.value}", _ANSWER_CHARACTERS)
    records = ", ".join(map(_record, answer.records[:_RECORDS_TOLD]))
    return shown(f"{answer.question}: {records}", _ANSWER_CHARACTERS)


def _record(record: Record) -> str:
    match record:
        case bytes():
            return f'"{record[:_ANSWER_CHARACTERS].decode("utf-8", "backslashreplace")}"'
        case MailExchange(preference, host):
            return f"{preference} {host or '.'}"
        case _:
            return record
