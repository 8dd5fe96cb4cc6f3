"""Screening: what becomes of a finished transaction for whom it is from.

Verified once, judged by each receiving domain as strictly as it wishes, settled into one answer. Mail from outside is
screened whole, a submission only as far as it is foreign mail here, in the domains of other organisations (DESIGN D12).
Who is refused or quarantined the policy says (`mtad.policy.authentication`); here it is told, to the timeline and the
metrics. Nothing is written down.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mtad.inbound.identity_facts import identity_facts
from mtad.inbound.verification import VerificationService, Vouched, wanted
from mtad.interfaces import IJournal, IWallClock
from mtad.message.authentication_fields import Subject, authentication_results, received_spf
from mtad.model import event
from mtad.model.address import Address
from mtad.model.authentication import Authentication, Checks, Dkim, Result
from mtad.model.content import Content
from mtad.model.envelope import Peer
from mtad.model.event import NAMED_RECIPIENTS, Event, Fact
from mtad.model.route import Route
from mtad.model.tenant import Submitter
from mtad.model.verdict import Accept, Quarantine, Refuse
from mtad.policy.authentication import Judgement, judge, settled

SignerOf = Callable[[Submitter, Address | None, Content], Awaitable[str | None]]
"""Of a submission, its reverse-path and its content: the domain whose signature it is due, None when none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """How strictly domains check that say nothing, who tells results, on whose host, and which sealers are believed."""

    checks: Checks
    authserv_id: str
    hostname: str
    trusted_sealers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Screened:
    """What came of it: a refusal, or what the acceptance needs.

    `header` goes on top of the content, `verified` has what each organisation's story is told, `quarantines` why
    forward-paths are kept. `told` are the facts of it for the log.
    """

    refusal: Refuse | None = None
    header: bytes = b""
    verified: Mapping[int, Event] = field(default_factory=dict)
    quarantines: Mapping[Address, Quarantine] = field(default_factory=dict)
    told: Mapping[str, Fact] = field(default_factory=dict)


NOTHING = Screened()
"""Nobody wanted to know anything."""


class Screening:
    """Screens transactions by `terms`; `signer_of` says whose signature submissions are due."""

    def __init__(
        self,
        *,
        verification: VerificationService,
        signer_of: SignerOf,
        clock: IWallClock,
        journal: IJournal,
        terms: Identity,
    ) -> None:
        self._verification = verification
        self._signer_of = signer_of
        self._clock = clock
        self._journal = journal
        self._terms = terms

    async def received(
        self, peer: Peer, reverse_path: Address | None, routes: Sequence[Route], content: Content
    ) -> Screened:
        """Return what becomes of mail from outside; raises Unavailable."""
        checks = self._checks(routes)
        wants = wanted(checks.values())
        if not wants.anything:
            return NOTHING
        subject = Subject(peer.host, peer.helo or "", reverse_path)
        found = await self._verification.verify(subject, content, wants)
        header = authentication_results(found, subject, self._terms.authserv_id)
        if found.spf:
            header += received_spf(found.spf[0], subject, self._terms.hostname)
        return self._screened(found, checks, routes, header)

    async def submitted(
        self, submitter: Submitter, reverse_path: Address | None, routes: Sequence[Route], content: Content
    ) -> Screened:
        """Return what becomes of a submission, as far as others' domains here receive it; raises Unavailable."""
        checks = self._checks([route for route in routes if route.organisation != submitter.organisation])
        wants = wanted(checks.values())
        if not wants.anything:
            return NOTHING
        vouched = Vouched(
            envelope=None if reverse_path is None else reverse_path.domain,
            signer=await self._signer_of(submitter, reverse_path, content),
        )
        found = await self._verification.verify_submitted(vouched, content, wants)
        return self._screened(found, checks, routes)

    def _checks(self, routes: Sequence[Route]) -> dict[str, Checks]:
        """Return how strictly each domain that receives checks, by its name."""
        domains = {route.domain.name: route.domain for route in routes if route.domain is not None}
        return {name: domain.checks.over(self._terms.checks) for name, domain in domains.items()}

    def _screened(
        self, found: Authentication, checks: Mapping[str, Checks], routes: Sequence[Route], header: bytes = b""
    ) -> Screened:
        for domain, theirs in checks.items():
            self._count(found, domain, theirs)
        by_domain = {name: judge(found, theirs, self._terms.trusted_sealers) for name, theirs in checks.items()}
        each = [_of(route, by_domain) for route in routes]
        outcome = settled(each)
        told = identity_facts(found)
        if outcome.refusal is not None:
            return Screened(outcome.refusal, told=told)
        judged = list(zip(routes, outcome.judgements, strict=True))
        return Screened(
            header=header,
            verified=self._events(told, [(route, judgement) for route, judgement in judged if _name(route) in checks]),
            quarantines={
                route.forward_path: judgement for route, judgement in judged if isinstance(judgement, Quarantine)
            },
            told=told,
        )

    def _events(self, told: Mapping[str, Fact], judged: Collection[tuple[Route, Judgement]]) -> dict[int, Event]:
        """Return what each organisation that receives is told: its own domains' rules, and what they rest on."""
        rules: dict[int, dict[str, None]] = {}
        for route, judgement in judged:
            assert route.organisation is not None
            rules.setdefault(route.organisation, {})[f"{_name(route)}: {_rule(judgement)}"] = None
        now = self._clock.now()
        return {
            organisation: Event(event.VERIFIED, now, {"rule": list(theirs)[:NAMED_RECIPIENTS], **told})
            for organisation, theirs in rules.items()
        }

    def _count(self, found: Authentication, domain: str, checks: Checks) -> None:
        """Count what was found for a domain that receives it."""
        wants = wanted((checks,))
        if wants.spf and found.spf:
            self._journal.record("verification.spf", domain=domain, real=True, result=found.spf[0].result.value)
        if wants.dkim:
            self._journal.record("verification.dkim", domain=domain, real=True, result=_best(found.dkim).value)
        if wants.dmarc:
            self._journal.record("verification.dmarc", domain=domain, real=True, result=found.dmarc.result.value)


def _name(route: Route) -> str:
    return "" if route.domain is None else route.domain.name


def _of(route: Route, by_domain: Mapping[str, Judgement]) -> Judgement:
    """Return how a route was judged; who is no stranger is welcome."""
    return by_domain.get(_name(route), Accept("its own"))


def _rule(judgement: Judgement) -> str:
    return judgement.rule if isinstance(judgement, Quarantine) else judgement.reason


def _best(signatures: Sequence[Dkim]) -> Result:
    """Return the result that signatures have together."""
    results = [each.result for each in signatures]
    for result in (Result.PASS, Result.TEMPERROR):
        if result in results:
            return result
    return results[0] if results else Result.NONE
