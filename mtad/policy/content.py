"""End of data: is this message fit to be taken? Size and form were judged while it came in."""

from dataclasses import dataclass

from mtad.model import replies
from mtad.model.verdict import Accept, Refuse, Verdict

MAX_RECEIVED_FIELDS = 50


@dataclass(frozen=True, slots=True)
class ContentFacts:
    """`received_count` counts the Received fields the message came with."""

    received_count: int


def decide(facts: ContentFacts) -> Verdict:
    """Refuse what loops (RFC 5321 §6.3: a limit well above any honest path)."""
    if facts.received_count >= MAX_RECEIVED_FIELDS:
        return Refuse(replies.ROUTING_LOOP, "routing-loop")
    return Accept("content")
