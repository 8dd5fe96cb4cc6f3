"""What a receiving domain makes of a message's identity: take it, refuse it, or keep it from the recipient.

One domain's judgement follows from the results and its own strictness (`judge`). A message has one reply, though its
recipients may be of domains that judge differently: `settled` makes one answer of all judgements. Finding the results
out is `mtad.verification`'s part, and `mtad.inbound.verification`'s.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mtad.model import replies
from mtad.model.authentication import Authentication, Checks, DmarcPolicy, Result, Strictness
from mtad.model.reply import Reply
from mtad.model.verdict import Accept, Quarantine, Refuse

Judgement = Accept | Refuse | Quarantine


@dataclass(frozen=True, slots=True)
class Settled:
    """The answer to a whole message: the refusal, if it is one, and what each judgement came to."""

    refusal: Refuse | None
    judgements: tuple[Judgement, ...]


def judge(found: Authentication, checks: Checks, trusted_sealers: Collection[str] = ()) -> Judgement:
    """Return what a domain with these checks makes of a message; where nothing is enforced, that is to take it.

    What is temporary comes first: it never counts as a pass (RFC 7372 §3). It matters where it may end in a refusal or
    a quarantine, or in a pass that another check would yield to. An ARC chain that passes and has a sealer among
    `trusted_sealers`, which saw DMARC pass, stands for DMARC's pass where that would have the message refused; while
    the DNS leaves open whether such a chain passes, so is the answer.
    """
    considered = (
        _dmarc(found, trusted_sealers) if checks.dmarc is Strictness.ENFORCE else None,
        _spf(found) if checks.spf is Strictness.ENFORCE else None,
        _dkim(found) if checks.dkim is Strictness.ENFORCE else None,
    )
    objections = [objection for objection in considered if objection is not None]
    objections.sort(key=_weight)
    return objections[0] if objections else _accepted(found, checks, trusted_sealers)


def settled(judgements: Sequence[Judgement]) -> Settled:
    """Return one answer for a message whose recipients' domains judged so, in the order of the recipients.

    Any that is temporary defers all; when all refuse, the first one's reply is the answer; when only some do, the
    message is taken, and what they refuse is quarantined: a report of it might go to anybody.
    """
    refusals = [each for each in judgements if isinstance(each, Refuse)]
    temporary = next((each for each in refusals if not each.reply.permanent), None)
    if temporary is not None:
        return Settled(temporary, tuple(judgements))
    if refusals and len(refusals) == len(judgements):
        return Settled(refusals[0], tuple(judgements))
    return Settled(None, tuple(_kept(each) if isinstance(each, Refuse) else each for each in judgements))


def trusted_sealer(found: Authentication, trusted: Collection[str]) -> str | None:
    """Return the last sealer that vouches for a message, None when nobody who is trusted does (RFC 8617 §7.2.1).

    A seal is over the chain, not over the message: who came later may have put another message under it. So of those
    either all are trusted, or the message is still as the sealer had it.
    """
    if found.arc.result is not Result.PASS:
        return None
    unchanged_since = max(1, found.arc.oldest_pass)
    handlers = list(zip(found.arc.sealers, found.arc.dmarc_passed, strict=True))
    for instance, (sealer, passed) in reversed(list(enumerate(handlers, 1))):
        if sealer in trusted:
            if passed:
                return sealer
        elif instance <= unchanged_since:
            return None
    return None


def _dmarc(found: Authentication, trusted_sealers: Collection[str]) -> Refuse | Quarantine | None:
    dmarc = found.dmarc
    if dmarc.result is Result.PERMERROR:
        return _refuse(replies.NO_AUTHOR, "no-author")
    if dmarc.result not in (Result.FAIL, Result.TEMPERROR) or dmarc.policy is DmarcPolicy.NONE:
        return None
    if trusted_sealer(found, trusted_sealers):
        return None
    sealer_is_open = found.arc.temporary and not set(trusted_sealers).isdisjoint(found.arc.sealers)
    if sealer_is_open or dmarc.result is Result.TEMPERROR:
        return _refuse(replies.IDENTITY_TROUBLE, "identity-trouble")
    if dmarc.policy is DmarcPolicy.REJECT:
        return _refuse(replies.dmarc_refused(dmarc.domain), "dmarc-fail")
    return Quarantine("dmarc-fail", f"DMARC fails, and {dmarc.record_domain} asks for such mail to be quarantined")


def _spf(found: Authentication) -> Refuse | None:
    if found.dmarc.result is Result.PASS:
        return None
    results = {each.result for each in found.spf if each.identity == "mailfrom"} or {each.result for each in found.spf}
    if Result.FAIL in results and found.dmarc.result is Result.TEMPERROR:
        # DMARC may yet pass, to which SPF would yield.
        return _refuse(replies.IDENTITY_TROUBLE, "identity-trouble")
    if Result.FAIL in results:
        return _refuse(replies.SPF_FAILED, "spf-fail")
    return _refuse(replies.SPF_TROUBLE, "identity-trouble") if Result.TEMPERROR in results else None


def _dkim(found: Authentication) -> Refuse | None:
    # A key that is being tested leaves a message no worse than unsigned (RFC 6376 §3.6.1, t=y).
    results = {each.result for each in found.dkim if each.result is Result.PASS or not each.testing}
    if not results or Result.PASS in results:
        return None
    if Result.TEMPERROR in results:
        return _refuse(replies.IDENTITY_TROUBLE, "identity-trouble")
    return _refuse(replies.DKIM_FAILED, "dkim-fail")


def _refuse(reply: Reply, reason: str) -> Refuse:
    return Refuse(reply, reason)


def _weight(objection: Refuse | Quarantine) -> int:
    if isinstance(objection, Quarantine):
        return 2
    return 1 if objection.reply.permanent else 0


def _kept(refusal: Refuse) -> Quarantine:
    return Quarantine(refusal.reason, f"its domain would have answered: {refusal.reply.text}")


def _accepted(found: Authentication, checks: Checks, trusted_sealers: Collection[str]) -> Accept:
    """Return the acceptance, which names what would have been if that was only watched or somebody vouched."""
    sealer = trusted_sealer(found, trusted_sealers)
    if sealer is not None and checks.dmarc is Strictness.ENFORCE and _dmarc(found, ()) is not None:
        return Accept(f"arc: {sealer} saw DMARC pass")
    watched = [
        name
        for name, strictness, objection in (
            ("dmarc", checks.dmarc, _dmarc(found, trusted_sealers)),
            ("spf", checks.spf, _spf(found)),
            ("dkim", checks.dkim, _dkim(found)),
        )
        if strictness is Strictness.MONITOR and objection is not None
    ]
    return Accept(f"monitored: {', '.join(watched)}" if watched else "identity")
