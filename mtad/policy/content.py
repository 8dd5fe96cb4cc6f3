"""End of data: is this message fit to be taken? Size and form were judged while it came in."""

from dataclasses import dataclass

from mtad.model import replies
from mtad.model.verdict import Accept, Refuse, Verdict

MAX_RECEIVED_FIELDS = 50


@dataclass(frozen=True, slots=True)
class ContentFacts:
    """`received_count` counts the Received fields the message came with.

    `header_ends` tells whether its header is small enough to be looked at as a whole.
    """

    received_count: int
    header_ends: bool = True


def decide(facts: ContentFacts) -> Verdict:
    """Refuse what loops (RFC 5321 §6.3: a limit well above any honest path), and a header nobody looks at as a whole.

    Behind where we stop there may be another From, or results in our name, that its readers would believe.
    """
    if not facts.header_ends:
        return Refuse(replies.HEADER_TOO_LARGE, "header-too-large")
    if facts.received_count >= MAX_RECEIVED_FIELDS:
        return Refuse(replies.ROUTING_LOOP, "routing-loop")
    return Accept("content")
