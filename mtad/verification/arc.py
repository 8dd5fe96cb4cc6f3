"""The Authenticated Received Chain, validated (RFC 8617 §5.2): who handled a message, and what each says it found.

    chain = arc.plan(header)                     once a message: no DNS, no body, no clock
    chain.forms, chain.questions                 what to hash of the body, and what to ask
    result = arc.validate(facts, chain, digests, at=now, dmarc_passed=reads_results)

A chain passes when the newest message signature and every seal hold. That says who sealed, not that they are to be
believed: which sealers are is `mtad.policy.authentication`'s to say. Nothing is sealed here.
"""

from collections.abc import Callable
from itertools import takewhile

from mtad.model.authentication import Arc, Result
from mtad.verification import arc_sets, claims
from mtad.verification.arc_sets import ArcSet, Chain
from mtad.verification.claims import Digests, Finding
from mtad.verification.facts import Facts
from mtad.verification.signed_header import Header


def plan(header: Header) -> Chain:
    """Return what the ARC fields of a message claim; a chain that is not well formed needs nothing any more."""
    return arc_sets.read(header)


def validate(facts: Facts, chain: Chain, digests: Digests, *, at: float, dmarc_passed: Callable[[bytes], bool]) -> Arc:
    """Return the chain's result at `at` (epoch seconds); NotYetKnown until all keys were asked for.

    `digests` are those of the chain's `forms`; `dmarc_passed` reads a handler's own authentication results, and says
    whether DMARC passed there for the author the message has now.
    """
    if chain.problem:
        return Arc(Result.FAIL, chain.problem)
    if not chain.sets:
        return Arc(Result.NONE)
    facts.want(chain.questions)
    sealers = tuple(each.sealer for each in chain.sets)
    signatures = (_signature(facts, each, digests, at) for each in reversed(chain.sets))
    wrong = _wrong(facts, chain, next(signatures))
    if wrong is not None:
        where, finding = wrong
        temporary = finding.result is Result.TEMPERROR
        return Arc(Result.FAIL, f"{where}: {finding.reason}", sealers, temporary=temporary)
    # §5.2 step 5: from the newest on, how far back the message is as it was signed.
    holding = sum(1 for _ in takewhile(_passed, signatures)) + 1
    return Arc(
        Result.PASS,
        sealers=sealers,
        dmarc_passed=tuple(dmarc_passed(each.results) for each in chain.sets),
        oldest_pass=0 if holding == len(chain.sets) else len(chain.sets) - holding + 1,
    )


def _signature(facts: Facts, each: ArcSet, digests: Digests, at: float) -> Finding:
    """Return what comes of a set's message signature."""
    if each.signature is None:
        return Finding(Result.PERMERROR, each.unreadable)
    return claims.check(each.signature, facts.lookup(each.signature.claim.question), digests, at)


def _wrong(facts: Facts, chain: Chain, newest: Finding) -> tuple[str, Finding] | None:
    """Return what does not hold, and how so, None when all does that must (§5.2 steps 4 and 6)."""
    if not _passed(newest):
        return "the newest message signature", newest
    for instance, each in reversed(tuple(enumerate(chain.sets, 1))):
        finding = claims.judge(each.seal, facts.lookup(each.seal.question))
        if not _passed(finding):
            return f"seal {instance}", finding
    return None


def _passed(finding: Finding) -> bool:
    return finding.result is Result.PASS
