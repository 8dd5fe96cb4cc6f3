"""One look at a hosted domain: all that is asked of the DNS, and what follows from it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from mtad.domains import dns_check
from mtad.domains.dns_check import Server
from mtad.domains.keys import moves
from mtad.domains.standing import held, is_lapsed, next_look
from mtad.model.domain_check import HostedDomain, Look, Noted
from mtad.verification.facts import Facts

T = TypeVar("T")


class Lookups(Protocol):
    """Runs algorithms over the DNS until nothing is missing (`mtad.inbound.lookups`)."""

    async def run(self, algorithm: Callable[[Facts], T]) -> T:
        """Return what the algorithm comes to."""


async def look(domain: HostedDomain, lookups: Lookups, server: Server, now: float) -> Look:
    """Return what the DNS says of a domain at `now` (epoch seconds)."""
    ownership = await lookups.run(lambda facts: dns_check.ownership(facts, domain))
    mx = await lookups.run(lambda facts: dns_check.mx(facts, domain, server))
    spf = await lookups.run(lambda facts: dns_check.spf(facts, domain, server, now))
    records = await lookups.run(lambda facts: dns_check.dkim(facts, domain))
    dmarc = await lookups.run(lambda facts: dns_check.dmarc(facts, domain))
    return Look(domain, (ownership, mx, spf, records.finding, dmarc), records.seen)


def noted(look: Look, now: float, chance: float, *, asked: bool = False) -> Noted:
    """Return what to write after a look; `chance` of [0, 1) spreads the next ones.

    A claim that was pending for too long is proven only where an operator `asked`.
    """
    domain = look.domain
    checks = tuple(held(domain.check(finding.subject), finding, now) for finding in look.findings)
    proven = look.proves and (asked or not is_lapsed(domain, now))
    known = replace(domain, verified=domain.verified or proven)
    return Noted(
        domain=domain,
        checks=checks,
        moves=moves(domain.name, domain.keys, look.seen, now),
        proven=proven,
        due=next_look(known, checks, now, chance),
    )
