"""RCPT: is this forward-path ours to take, and is there room for it?

From strangers mail is taken only for addresses that exist in domains whose ownership is verified here; anything else
is relaying (RFC 5321 §3.6.2, §7.1; DESIGN D12). Only the routes of submissions lead elsewhere. The route is a fact
found before; nothing here waits.
"""

from dataclasses import dataclass

from mtad.model import replies
from mtad.model.route import Route
from mtad.model.verdict import Accept, Refuse, Verdict

CLAIM_PENDING_SECONDS = 7 * 86400.0
# Aliases multiply: what one message may become is bounded apart from what a peer may name.
MAX_PLACES = 10_000


@dataclass(frozen=True, slots=True)
class RecipientFacts:
    """`accepted_count` forward-paths of this transaction lead to `accepted_places`; `now` is epoch seconds."""

    route: Route
    accepted_count: int
    accepted_places: int
    max_recipients: int
    now: float


def decide(facts: RecipientFacts) -> Verdict:
    """Return whether the recipient is taken; each refusal's reason is one of a finite list."""
    route = facts.route
    full = facts.accepted_places and facts.accepted_places + len(route.places) > MAX_PLACES
    if full or facts.accepted_count >= facts.max_recipients:
        return Refuse(replies.TOO_MANY_RECIPIENTS, "too-many-recipients")
    if route.places:
        return Accept(route.rule)
    if route.domain is None:
        return Refuse(replies.RELAY_DENIED, "relay-denied")
    if not route.domain.verified:
        if facts.now - route.domain.claimed_at < CLAIM_PENDING_SECONDS:
            return Refuse(replies.CLAIM_PENDING, "claim-pending")
        return Refuse(replies.RELAY_DENIED, "relay-denied")
    if route.disabled:
        return Refuse(replies.MAILBOX_DISABLED, "mailbox-disabled")
    return Refuse(replies.NO_SUCH_USER, "no-such-user")
