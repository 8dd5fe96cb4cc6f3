"""Delivery to domains elsewhere: from a domain to its hosts, and from one host to the next until all is said.

    the relay, when there is one, takes everything
    else the hosts of `mtad.routing.exchangers`, in order, and each host's addresses
    those that could not be reached a moment ago go last
    an address the guard refuses is passed over
    a recipient with an answer is done; what is the host's alone (Scope.HOST) goes on to the next address

A host that lacks what the message needs (an extension, room for its size) is final only when no other host of the
domain may still do better: one that merely has trouble at the moment is waited for.

An attempt ends after some addresses or some time: a destination whose servers are silent must not hold a delivery slot
for an hour, and is tried again anyway. Retries over days are the queue's.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import islice
from typing import TypeGuard

from twisted.internet.interfaces import IReactorTime

from mtad.interfaces import IResolver
from mtad.model.answer import Answer, Question
from mtad.model.endpoint import HostPort, parse
from mtad.model.envelope import Recipient
from mtad.model.exchangers import Hosts, NoRoute, OwnNames
from mtad.model.next_hop import NextHop, TlsLevel, strictest
from mtad.model.outcome import Deferred, Failed, Outcome, Remote, Scope
from mtad.model.text import shown
from mtad.outbound.client import MailClient
from mtad.outbound.errand import Mail
from mtad.outbound.tasks import together
from mtad.routing.exchangers import Needs, step
from mtad.routing.guard import refusal

MAX_ADDRESSES = 6
ATTEMPT_SECONDS = 600.0
_SHOWN_WORDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Outward:
    """How mail leaves: to port `port` of the hosts the DNS names, or all of it to `relay`.

    `own` is what this server is called and reached by, with the addresses that `is_ours` tells of. `sources` are the
    addresses it comes from, any of them that is of the other side's family; none leaves it to the system.
    `allow_private` lifts the guard.
    """

    own: OwnNames
    is_ours: Callable[[str], bool] = lambda _: False
    port: int = 25
    relay: NextHop | None = None
    sources: tuple[str, ...] = ()
    allow_private: bool = False


class RemoteDelivery:
    """Delivers elsewhere. `chance` draws from [0, 1)."""

    def __init__(
        self,
        *,
        resolver: IResolver,
        client: MailClient,
        clock: IReactorTime,
        chance: Callable[[], float],
        outward: Outward,
    ) -> None:
        self._resolver = resolver
        self._client = client
        self._clock = clock
        self._chance = chance
        self._outward = outward

    async def deliver(
        self, domain: str, mail: Mail, recipients: Sequence[Recipient], tls: TlsLevel | None = None
    ) -> list[Outcome]:
        """Send a message to recipients of `domain`; one outcome a recipient, in order.

        `tls` is what the hosts must give, None being as much as they have; a relay's own level is never lowered.
        """
        relay = self._outward.relay
        if relay is not None:
            hop = replace(relay, tls=strictest(relay.tls, tls) or relay.tls)
            return await self._client.deliver(self._sourced(hop), mail, recipients)
        route = await self._route(domain)
        if isinstance(route, NoRoute):
            return [route.outcome] * len(recipients)
        attempt = _Attempt(recipients)
        ends_at = self._clock.seconds() + ATTEMPT_SECONDS
        for hop in islice(self._hops(route, tls or TlsLevel.MAY, attempt), MAX_ADDRESSES):
            left = ends_at - self._clock.seconds()
            attempt.take(hop, await self._client.deliver(hop, mail, attempt.unanswered, left))
            if not attempt.unanswered or self._clock.seconds() >= ends_at:
                break
        return attempt.outcomes(domain, route.trouble)

    async def _route(self, domain: str) -> Hosts | NoRoute:
        known: dict[Question, Answer] = {}
        own = self._outward.own
        while True:
            found = step(domain, known, own, self._chance)
            if isinstance(found, Needs):
                questions = sorted(found.questions, key=str)
                answers = await together(self._resolver.resolve(question) for question in questions)
                known.update(zip(questions, answers, strict=True))
            elif isinstance(found, Hosts) and (ours := self._ours(found)):
                own = replace(own, addresses=own.addresses | ours)
            else:
                return found

    def _ours(self, route: Hosts) -> frozenset[str]:
        addresses = (address for host in route.hosts for address in host.addresses)
        return frozenset(address for address in addresses if self._outward.is_ours(address))

    def _hops(self, route: Hosts, tls: TlsLevel, attempt: "_Attempt") -> Iterator[NextHop]:
        """Yield where to go, in order; the attempt hears of what the guard refuses."""
        guarded = not self._outward.allow_private
        places = [(host, address) for host in route.hosts for address in host.addresses]
        for host, address in sorted(places, key=lambda place: self._client.is_unreachable(self._dialled(place[1]))):
            hop = NextHop(host=shown(host.name), address=self._dialled(address), tls=tls, guarded=guarded)
            why = refusal(address, self._outward.own.addresses) if guarded else None
            if why is None:
                yield self._sourced(hop)
            else:
                attempt.pass_over(hop, why)

    def _dialled(self, address: str) -> str:
        return str(HostPort(address, self._outward.port))

    def _sourced(self, hop: NextHop) -> NextHop:
        """Return the hop with one of our addresses of its family to come from, if there is any."""
        where = parse(hop.address)
        try:
            version = ip_address(where.host).version if isinstance(where, HostPort) else 0
        except ValueError:
            return hop
        fitting = [source for source in self._outward.sources if ip_address(source).version == version]
        return replace(hop, source=fitting[int(self._chance() * len(fitting))]) if fitting else hop


class _Attempt:
    """What is known of an attempt so far: an outcome a recipient, and what servers before the last one said."""

    def __init__(self, recipients: Sequence[Recipient]) -> None:
        self._recipients = recipients
        self._outcomes: list[Outcome | None] = [None] * len(recipients)
        self._open = list(range(len(recipients)))
        self._passed_over: list[str] = []
        self._earlier: list[str] = []

    @property
    def unanswered(self) -> list[Recipient]:
        """The recipients another server may do better for."""
        return [self._recipients[n] for n in self._open]

    def take(self, hop: NextHop, outcomes: Sequence[Outcome]) -> None:
        """Add how the unanswered recipients fared with a server."""
        earlier = (*self._passed_over, *self._earlier)
        for n, outcome in zip(self._open, outcomes, strict=True):
            remote = outcome.remote or Remote(hop.host, hop.address)
            # What one host cannot take, another that only has trouble now may take later.
            if not (_is_unfit(outcome) and isinstance(self._outcomes[n], Deferred)):
                self._outcomes[n] = replace(outcome, remote=replace(remote, earlier=earlier))
        troubles = [n for n, outcome in zip(self._open, outcomes, strict=True) if _may_do_better_elsewhere(outcome)]
        if troubles:
            detail = next(outcome.detail for outcome in outcomes if _may_do_better_elsewhere(outcome))
            self._earlier.append(f"{hop.host}[{hop.address}]: {shown(detail, _SHOWN_WORDS)}")
        self._open = troubles

    def pass_over(self, hop: NextHop, why: str) -> None:
        """Note an address that is not dialled."""
        self._passed_over.append(f"{hop.host}[{hop.address}]: not dialled, the address is {why}")

    def outcomes(self, domain: str, trouble: Deferred | None) -> list[Outcome]:
        """Return the end of it: what no server decided is the destination's trouble.

        When no address was dialled, `trouble` of the DNS leaves it open whether there is a better one.
        """
        refused = "; ".join(self._passed_over[:3])
        nowhere = trouble or Failed(
            f"{shown(domain)} has no host to send mail to: {refused}", Scope.DESTINATION, "5.4.4"
        )
        return [
            replace(outcome, scope=Scope.DESTINATION) if _may_do_better_elsewhere(outcome) else outcome or nowhere
            for outcome in self._outcomes
        ]


def _may_do_better_elsewhere(outcome: Outcome | None) -> TypeGuard[Deferred | Failed]:
    return isinstance(outcome, Deferred | Failed) and outcome.scope is Scope.HOST


def _is_unfit(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and outcome.scope is Scope.HOST
