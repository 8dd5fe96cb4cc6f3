"""A connection that begins: whether there is room for it.

What is counted are the sessions of all mail ports of this process, and among them those of one peer
(`mtad.policy.peer.one_peer`). Peers an operator named, which stand for many others, only meet the first limit. The
answer is temporary: whoever is refused comes again.
"""

from dataclasses import dataclass

from mtad.model import replies
from mtad.model.verdict import Accept, Refuse, Verdict


@dataclass(frozen=True, slots=True)
class Limits:
    """How many sessions there may be at once, in all and of one peer."""

    max_connections: int
    max_connections_per_peer: int


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """How many sessions are open, in all and of this peer; `trusted` when an operator named the peer's network."""

    open_count: int
    open_count_of_peer: int
    trusted: bool


def decide(facts: ConnectionFacts, limits: Limits) -> Verdict:
    """Return whether one more session may begin."""
    if facts.open_count >= limits.max_connections:
        return Refuse(replies.TOO_MANY_CONNECTIONS, "too-many-connections")
    if not facts.trusted and facts.open_count_of_peer >= limits.max_connections_per_peer:
        return Refuse(replies.TOO_MANY_FROM_YOU, "too-many-of-peer")
    return Accept("there is room")
