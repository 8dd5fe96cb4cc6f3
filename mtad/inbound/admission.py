"""How many sessions there are: counted over all mail ports of the process, so that each is admitted or refused.

A connection that waits for a balancer's header is one of the balancer's, until it is known whose it is.
"""

from collections import Counter
from collections.abc import Sequence

from mtad.model.verdict import Accept, Verdict
from mtad.policy import connection
from mtad.policy.connection import ConnectionFacts, Limits
from mtad.policy.peer import Network, one_peer, within


class Admission:
    """Counts sessions by peer. Whoever is in one of the `trusted` networks may have as many as there are in all."""

    def __init__(self, limits: Limits, trusted: Sequence[Network] = ()) -> None:
        self._limits = limits
        self._trusted = tuple(trusted)
        self._of_peer: Counter[str] = Counter()
        self._open_count = 0

    def enter(self, host: str) -> Verdict:
        """Return whether a session of that address may begin; one that may is counted until `leave`."""
        peer = one_peer(host)
        facts = ConnectionFacts(self._open_count, self._of_peer[peer], within(host, self._trusted))
        verdict = connection.decide(facts, self._limits)
        if isinstance(verdict, Accept):
            self._open_count += 1
            self._of_peer[peer] += 1
        elif not self._of_peer[peer]:
            del self._of_peer[peer]
        return verdict

    def leave(self, host: str) -> None:
        """Forget a session of that address, which had been let in."""
        peer = one_peer(host)
        self._open_count -= 1
        self._of_peer[peer] -= 1
        if not self._of_peer[peer]:
            del self._of_peer[peer]
