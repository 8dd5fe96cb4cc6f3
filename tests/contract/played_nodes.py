"""The servers of the interleavings as nodes: time, leases, beats, takeovers, and what breaks (DESIGN D8)."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from mtad.model.process import Standing
from mtad.outbound.lease import Lease
from mtad.outbound.membership import DEAD_SECONDS
from tests.contract.fleets import PROCESSES, Fleet
from tests.contract.letters import NOW
from tests.contract.played import Server

SERVERS = st.integers(0, PROCESSES - 1)
PICKS = st.integers(0, 5)
ENOUGH_SECONDS = 31.0
"""Enough for an acceptance to be given up, and for a silent server to be taken over."""


class Nodes(RuleBasedStateMachine):
    """Three servers over `fleet`."""

    fleet: ClassVar[Fleet]

    def begin_nodes(self) -> None:
        """Start the servers over nothing."""
        self.fleet.begin()
        self.now = 0.0
        self.dead: dict[int, float] = {}
        self.seen_dead: list[tuple[int, int]] = []
        self.servers = [self.started(number) for number in range(PROCESSES)]

    @abstractmethod
    def take_answers(self) -> None:
        """Hear what ended of what servers wait for."""

    # What the machine knows.

    @property
    def wall(self) -> float:
        """The date."""
        return NOW + self.now

    def is_good(self, server: Server) -> bool:
        """Whether a server's lease is good."""
        return server.lease.good

    def may_begin(self, server: Server, late: bool = False) -> bool:
        """Whether a server may begin anything for its rows, or did before it was stopped."""
        return late if server.asleep else self.is_good(server)

    def is_connected(self, server: Server) -> bool:
        """Whether a server is awake and has its way to the database."""
        return not server.asleep and not self.fleet.away[server.number]

    def some(self, pick: int, found: list[Any]) -> Any:
        """Return one of some things, None of nothing."""
        return found[pick % len(found)] if found else None

    def server(self, pick: int, fits: Callable[[Server], object]) -> Server | None:
        """Return one of the servers that fit."""
        found: Server | None = self.some(pick, [server for server in self.servers if fits(server)])
        return found

    def standing(self) -> set[int]:
        """Return the owners that have a node's row."""
        return set(self.fleet.do(self.fleet.nodes[0].beats()))

    def stood(self, owner: int) -> None:
        """See that something was done for a node that has its row."""
        assert owner in self.standing(), f"something was done for {owner}, which is no node"

    # Membership

    def started(self, number: int) -> Server:
        """Return a new server, which is a node."""
        server = Server(number, self.no_lease())
        self.join(server)
        return server

    def no_lease(self) -> Lease:
        """Return the lease of who is no node yet."""
        lease = Lease(0, self.now, lambda: self.now)
        lease.end()
        return lease

    def join(self, server: Server) -> None:
        """Let a server become a node."""
        node = self.fleet.do(self.fleet.nodes[server.number].join(f"server {server.number}", self.wall))
        server.lease, server.slot = Lease(node.owner, self.now, lambda: self.now), node.slot
        server.last_id = max(server.last_id, node.last_id)
        server.beaten_at = self.now
        server.has_lapsed = False

    def beat(self, *servers: Server) -> None:
        """Let servers beat, and be expelled and join anew whose row is gone."""
        self.note_lapses()
        beats = [self.fleet.nodes[each.number].beat(each.owner, each.last_id, {}) for each in servers]
        for server, standing in zip(servers, self.fleet.together([(beat, None) for beat in beats]), strict=True):
            if standing is Standing.GONE:
                server.forget()
                self.join(server)
            else:
                self.succeeded(server, self.now)
                server.has_lapsed = False

    def succeeded(self, server: Server, sent_at: float) -> None:
        """Let a beat that a server sent then have succeeded."""
        server.beaten_at = max(server.beaten_at, sent_at)
        server.lease.renew(server.beaten_at)

    def note_lapses(self) -> None:
        """Remember whose lease has run out."""
        for server in self.servers:
            if not self.is_good(server) and not server.has_lapsed:
                server.has_lapsed = True
                server.lapses += 1

    @rule(seconds=st.sampled_from((1.0, 4.0, 9.0, ENOUGH_SECONDS)))
    def pass_time(self, seconds: float) -> None:
        """Let time pass, in which who can beats."""
        self.fleet.advance(seconds)
        self.now += seconds
        for server in self.servers:
            if self.is_connected(server):
                self.succeeded(server, self.now - 1)
        self.beat(*filter(self.is_connected, self.servers))
        self.take_answers()

    def stall(self, number: int) -> None:
        """Stop a server, as SIGSTOP does."""
        self.servers[number].asleep = True

    @rule(pick=PICKS)
    def wake(self, pick: int) -> None:
        """Let a server go on."""
        server = self.server(pick, lambda server: server.asleep)
        if server is not None:
            server.asleep = False
            if self.is_connected(server):
                self.beat(server)

    def silent(self) -> list[int]:
        """Return the owners whose beat has stood still for long enough."""
        owners = self.dead | {server.owner: server.beaten_at for server in self.servers}
        return [owner for owner, beaten_at in owners.items() if self.now - beaten_at >= DEAD_SECONDS]

    @rule(pick=PICKS)
    def look_around(self, pick: int) -> None:
        """Let somebody see that a server is dead: to take it over comes later, and anything may happen before."""
        owner = self.some(pick, self.silent())
        if owner is not None and self.observers(owner):
            self.seen_dead.append((owner, self.fleet.do(self.fleet.nodes[0].beats()).get(owner, 0)))

    def observers(self, owner: int) -> list[Server]:
        """Return who can take over a node."""
        return [server for server in self.servers if self.is_connected(server) and server.owner != owner]

    @rule(pick=PICKS, together=st.booleans(), cut_short=st.booleans())
    def take_over(self, pick: int, together: bool, cut_short: bool) -> None:
        """Let one server, or all at once, take over one that was seen dead; or one that dies over it."""
        seen = self.some(pick, self.seen_dead)
        if seen is None or not self.observers(seen[0]):
            return
        self.seen_dead.remove(seen)
        owner, beat = seen
        if cut_short:
            self.fleet.forget_node(owner, beat)
        else:
            by = self.observers(owner) if together else self.observers(owner)[:1]
            self.fleet.together([
                (self.fleet.nodes[each.number].take_over(owner, beat, self.wall), None) for each in by
            ])  # fmt: skip
        if owner not in self.standing():
            self.dead.pop(owner, None)

    def free_orphans(self, number: int) -> None:
        """Let a server free the rows of owners that are no nodes."""
        if self.is_connected(self.servers[number]) and self.may_begin(self.servers[number]):
            self.fleet.do(self.fleet.nodes[number].free_orphans(self.wall))

    # Trouble

    @rule(number=SERVERS, what=st.sampled_from(("outage", "outage_of_all", "crash", "stall")))
    def trouble(self, number: int, what: str) -> None:
        """Let something break."""
        getattr(self, what)(number)

    def outage(self, number: int) -> None:
        """Break a server's way to the database."""
        if not self.fleet.away[number]:
            self.fleet.outage(number)

    def outage_of_all(self, _: int) -> None:
        """Let the database be away."""
        for number in range(PROCESSES):
            self.outage(number)

    @rule(pick=PICKS)
    def restore(self, pick: int) -> None:
        """Let a server have its way again."""
        server = self.server(pick, lambda server: self.fleet.away[server.number])
        if server is not None:
            self.fleet.restore(server.number, server.waits())
            self.take_answers()
            if self.is_connected(server):
                self.beat(server)

    @rule(number=SERVERS, outage=st.booleans())
    def lose_answer(self, number: int, outage: bool) -> None:
        """Let the answer to a server's next write be lost."""
        if not self.fleet.away[number]:
            self.fleet.lose_answer(number, outage)

    def crash(self, number: int) -> None:
        """End a server as `kill -9` does, and start another."""
        server = self.servers[number]
        self.fleet.crash(number)
        self.take_answers()
        self.dead[server.owner] = server.beaten_at
        server.lapses += 1
        self.servers[number] = self.started(number)
