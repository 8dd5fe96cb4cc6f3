"""What is held of a domain after a look at it, and when it is looked at again (pure).

A status turns bad only after FAILURES bad looks over at least FAILING_SECONDS, good at once. Trouble of the DNS changes
nothing.
"""

from mtad.model.dkim import KeyState
from mtad.model.domain_check import Check, Finding, HostedDomain, Status, Verdict
from mtad.policy.recipient import CLAIM_PENDING_SECONDS

FAILURES = 3
FAILING_SECONDS = 3600.0

WAITING_SECONDS = 300.0
"""Where somebody waits for a record to be seen."""

FAILING_LOOK_SECONDS = 1200.0
LAPSED_SECONDS = 86400.0
USUAL_SECONDS = 6 * 3600.0


def held(before: Check | None, finding: Finding, now: float) -> Check:
    """Return what is held of a subject at `now` (epoch seconds), given what was held and what one look found."""
    if finding.verdict is Verdict.TROUBLE:
        return before or Check(finding.subject, Status.UNKNOWN, finding.seen, now, now)
    status = Status.UNKNOWN if before is None else before.status
    failures, failing_since = (0, None) if before is None else (before.failures, before.failing_since)
    match finding.verdict:
        case Verdict.GOOD:
            status, failures, failing_since = Status.GOOD, 0, None
        case Verdict.NOTHING:
            status, failures, failing_since = Status.UNKNOWN, 0, None
        case Verdict.BAD:
            failures += 1
            failing_since = now if failing_since is None else failing_since
            if failures >= FAILURES and now - failing_since >= FAILING_SECONDS:
                status = Status.BAD
    since = before.since if before is not None and before.status is status else now
    return Check(finding.subject, status, finding.seen, since, now, failures, failing_since)


def next_look(domain: HostedDomain, checks: tuple[Check, ...], now: float, chance: float) -> float:
    """Return when to look at a domain again (epoch seconds); `chance` of [0, 1) spreads domains over time."""
    return now + _wait_seconds(domain, checks, now) * (0.9 + 0.2 * chance)


def is_lapsed(domain: HostedDomain, now: float) -> bool:
    """Return whether a claim has been pending for too long to be proven without an operator (DESIGN D12)."""
    return not domain.verified and now - domain.claimed_at >= CLAIM_PENDING_SECONDS


def _wait_seconds(domain: HostedDomain, checks: tuple[Check, ...], now: float) -> float:
    if is_lapsed(domain, now):
        return LAPSED_SECONDS
    if not domain.verified or any(key.state in (KeyState.GENERATED, KeyState.PUBLISHED) for key in domain.keys):
        return WAITING_SECONDS
    return FAILING_LOOK_SECONDS if any(check.failures for check in checks) else USUAL_SECONDS
