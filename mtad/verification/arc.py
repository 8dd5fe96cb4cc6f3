"""The Authenticated Received Chain, validated (RFC 8617 §5.2): who handled a message, and what each says it found.

    chain = arc.plan(header)                     once a message: no DNS, no body, no clock
    chain.forms, chain.questions                 what to hash of the body, and what to ask
    result = arc.validate(facts, chain, digests, at=now, dmarc_passed=authentication_results.dmarc_passed)

A chain passes when the newest message signature and every seal hold. That says who sealed, not that they are to be
believed: which sealers are is `mtad.policy.content`'s to say. Nothing is sealed here.
"""

from collections.abc import Callable

from mtad.model.authentication import Arc, Result
from mtad.verification import arc_sets, claims
from mtad.verification.arc_sets import Chain
from mtad.verification.claims import Digests, Finding
from mtad.verification.facts import Facts
from mtad.verification.signed_header import Header

_NO_SIGNATURE = Finding(Result.PERMERROR)


def plan(header: Header) -> Chain:
    """Return what the ARC fields of a message claim; a chain that is not well formed needs nothing any more."""
    return arc_sets.read(header)


def validate(facts: Facts, chain: Chain, digests: Digests, *, at: float, dmarc_passed: Callable[[bytes], bool]) -> Arc:
    """Return the chain's result at `at` (epoch seconds); NotYetKnown until all keys were asked for.

    `digests` are those of the chain's `forms`; `dmarc_passed` reads a handler's own authentication results.
    """
    if chain.problem:
        return Arc(Result.FAIL, chain.problem)
    if not chain.sets:
        return Arc(Result.NONE)
    facts.want(chain.questions)
    sealers = tuple(each.sealer for each in chain.sets)
    signatures = _signatures(facts, chain, digests, at)
    wrong = _wrong(facts, chain, signatures[-1])
    if wrong is not None:
        where, finding = wrong
        return Arc(Result.FAIL, f"{where}: {finding.reason}", sealers, temporary=finding.result is Result.TEMPERROR)
    return Arc(
        Result.PASS,
        sealers=sealers,
        dmarc_passed=tuple(dmarc_passed(each.results) for each in chain.sets),
        oldest_pass=_oldest_pass(signatures),
    )


def _wrong(facts: Facts, chain: Chain, newest: Finding) -> tuple[str, Finding] | None:
    """Return what does not hold, and how so; the newest first (§5.2 steps 4 and 6)."""
    if newest.result is not Result.PASS:
        return "the newest message signature", newest
    for instance in range(len(chain.sets), 0, -1):
        seal = chain.sets[instance - 1].seal
        finding = claims.judge(seal, facts.lookup(seal.question))
        if finding.result is not Result.PASS:
            return f"seal {instance}", finding
    return None


def _signatures(facts: Facts, chain: Chain, digests: Digests, at: float) -> list[Finding]:
    """Return what came of each message signature, the oldest first."""
    found = []
    for each in chain.sets:
        signature = each.signature
        if signature is None:
            found.append(_NO_SIGNATURE)
        else:
            found.append(claims.check(signature, facts.lookup(signature.claim.question), digests, at))
    return found


def _oldest_pass(signatures: list[Finding]) -> int:
    """Return the instance from which on all message signatures hold, 0 when all do (§5.2 step 5)."""
    for instance in range(len(signatures), 0, -1):
        if signatures[instance - 1].result is not Result.PASS:
            return instance + 1
    return 0
