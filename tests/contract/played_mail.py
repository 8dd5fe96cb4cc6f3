"""The mail of the interleavings: what servers accept, claim, send, settle and give back (DESIGN D7)."""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from mtad.model.errors import LeaseLost, Unavailable
from mtad.model.identity import next_id
from mtad.model.job import Acceptance, Disposal, Job, Result, Row
from mtad.model.outcome import Deferred, Scope
from mtad.outbound.queue import jobs
from mtad.policy.holds import Holds
from tests.contract.fleets import Begun
from tests.contract.letters import DAY, again, gone, held, letter, of_job, recipients, shared_letter
from tests.contract.played import Delivery, Ended, Key, Sending, Server
from tests.contract.played_nodes import PICKS, SERVERS, Nodes

COUNTS = st.integers(1, 3)
KINDS = st.sampled_from(("plain", "plain", "shared", "quarantined"))
OUTCOMES = st.lists(st.sampled_from(("gone", "gone", "again", "held")), min_size=3, max_size=3)


class Mail(Nodes):
    """What the servers promised, and what they sent."""

    def begin_mail(self) -> None:
        """Have no mail."""
        self.promised: set[Key] = set()
        self.sent: dict[Key, list[Sending]] = {}
        self.known_holds: Holds | None = None

    def holds(self) -> Holds:
        """Return the holds that stand, which every server knows within a second."""
        if self.known_holds is None:
            self.known_holds = Holds(self.fleet.do(self.fleet.holds.active()))
        return self.known_holds

    @rule(number=SERVERS, count=COUNTS, kind=KINDS)
    def accept(self, number: int, count: int, kind: str) -> None:
        """Let a server accept a message of some recipients; or of one for each of two organisations."""
        server = self.servers[number]
        if self.may_begin(server):
            acceptance = self.made(server, count, kind)
            begun = self.fleet.call(self.fleet.queue[number].accept(acceptance, server.owner), number)
            server.accepting.append((acceptance, server.owner, begun))
            self.take_answers()

    def made(self, server: Server, count: int, kind: str) -> Acceptance:
        """Return what is to be accepted."""
        server.last_id = first = next_id(server.slot, server.last_id, self.wall)
        if kind == "shared":
            server.last_id = second = next_id(server.slot, first, self.wall)
            return shared_letter(first, second)
        quarantined = frozenset((0,)) if kind == "quarantined" else frozenset()
        terms = {"received_at": self.wall, "expires_at": self.wall + 5 * DAY, "quarantined": quarantined}
        return letter(first, recipients=recipients(count), **terms)

    def take_answers(self) -> None:
        """Hear what ended of what servers wait for."""
        for server in self.servers:
            for accepting in [each for each in server.accepting if each[-1].ended]:
                server.accepting.remove(accepting)
                self.accepted(server, *accepting)
            for settling in [each for each in server.settling if each[-1].ended]:
                server.settling.remove(settling)
                self.settled(server, *settling)

    def accepted(self, server: Server, acceptance: Acceptance, owner: int, begun: Begun) -> None:
        """Promise, and have in hand, what was accepted."""
        if begun.trouble is not None:
            assert isinstance(begun.trouble, Unavailable), begun.trouble
            server.given_up |= {message.id for message in acceptance.messages}
            return
        self.stood(owner)
        for message in acceptance.messages:
            self.promised.update((message.id, recipient.n) for recipient in message.recipients)
            if server.owner == owner:
                server.hand += jobs(message, b"")

    def settled(self, server: Server, ended: Ended, owner: int, begun: Begun) -> None:
        """Be done with a settlement; one whose node is no more is another node's to write."""
        if isinstance(begun.trouble, LeaseLost):
            server.ended.append(ended)
        elif begun.trouble is None:
            self.stood(owner)
            for sending in ended.sendings:
                sending.settled = sending.lapses == server.lapses
        else:
            assert isinstance(begun.trouble, Unavailable), begun.trouble

    @rule(
        number=SERVERS, per_lane=st.sampled_from((1, 2, 100)), heard=st.sampled_from((True, True, False)),
        late=st.booleans(),
    )  # fmt: skip
    def claim(self, number: int, per_lane: int, heard: bool, late: bool) -> None:
        """Let a server claim; or claim without hearing what."""
        server = self.servers[number]
        if self.may_begin(server, late) and not self.fleet.away[number]:
            self.claim_all([server], per_lane, heard)

    @rule(per_lane=st.sampled_from((1, 2)))
    def claim_together(self, per_lane: int) -> None:
        """Let all servers claim at once."""
        able = [server for server in self.servers if self.may_begin(server) and self.is_connected(server)]
        self.claim_all(able, per_lane)

    def claim_all(self, servers: list[Server], per_lane: int, heard: bool = True) -> None:
        """Let servers claim from all lanes that no hold closes."""
        holds = self.holds()
        claims = [(self.claimed(server, per_lane, holds), server.number) for server in servers]
        for server, begun in zip(servers, self.fleet.begin_all(claims), strict=True):
            if isinstance(begun.trouble, LeaseLost):
                assert server.asleep, "a server with a good lease is no node"
                continue
            claimed = begun.result()
            self.stood(server.owner)
            if heard:
                server.hand += claimed

    async def claimed(self, server: Server, per_lane: int, holds: Holds) -> list[Job]:
        """Return what a server claims."""
        queue = self.fleet.queue[server.number]
        lanes = (await queue.ready(self.wall, 100)).lanes
        open_ = [lane for lane in lanes if not holds.closes(lane, self.wall)]
        return list(await queue.claim(server.owner, open_, per_lane, self.wall))

    def may_deliver(self, server: Server) -> bool:
        """Whether a server may begin a delivery, and has one to begin."""
        return bool(server.hand) and not server.asleep and self.is_good(server)

    @rule(number=PICKS, pick=PICKS)
    def begin_delivery(self, number: int, pick: int) -> None:
        """Let a server begin a job it has in hand: it reads, asks, dials, waits."""
        server = self.server(number, self.may_deliver)
        if server is not None:
            job = server.hand.pop(pick % len(server.hand))
            server.begun.append(Delivery(job, server.lease))

    @rule(number=PICKS, pick=PICKS, outcomes=OUTCOMES)
    def send(self, number: int, pick: int, outcomes: list[str]) -> None:
        """Let a server go on to the last dot of what it has begun, which leaves now or never."""
        server = self.server(number, lambda server: server.begun and not server.asleep)
        if server is not None:
            self.go_on(server, server.begun[pick % len(server.begun)], outcomes)

    def go_on(self, server: Server, delivery: Delivery, outcomes: list[str]) -> None:
        """Send what was begun if its lease is good; it waits while that may be so again, and is given up else."""
        if delivery.lease.good:
            server.begun.remove(delivery)
            self.send_job(server, delivery.job, outcomes)
        elif delivery.lease.ended:
            server.begun.remove(delivery)

    @rule(number=PICKS, pick=PICKS, outcomes=OUTCOMES)
    def deliver(self, number: int, pick: int, outcomes: list[str]) -> None:
        """Let a server send a job and write at once what it came to."""
        server = self.server(number, self.may_deliver)
        if server is not None:
            self.send_job(server, server.hand.pop(pick % len(server.hand)), outcomes)
            self.settle_last(server)

    def send_job(self, server: Server, job: Job, outcomes: list[str]) -> None:
        """Send a job, each row with an outcome of its own, unless a hold keeps it back."""
        met = self.holds().of(job, self.wall)
        results, sendings = [], []
        for place, target in enumerate(job.targets):
            outcome = outcomes[place % len(outcomes)]
            n, claim = target.recipient.n, target.claim
            if met is not None:
                kept = Deferred("on hold", Scope.OURS)
                results.append(Result(n, claim, kept, Disposal.HELD, self.wall, hold=met.id))
            elif outcome == "gone":
                sendings.append(self.send_row((job.message, n), server))
                results.append(gone(n, claim))
            else:
                results.append(again(n, claim, self.wall + 5) if outcome == "again" else held(n, claim))
        server.ended.append(Ended(of_job(job, *results, at=self.wall), job.rows(), tuple(sendings)))

    def send_row(self, key: Key, server: Server) -> Sending:
        """Send a row, which nobody may have sent before who still had the right to it."""
        before = self.sent.setdefault(key, [])
        for sending in before:
            assert not sending.settled, f"{key} was sent and settled before"
            assert sending.lapses < sending.server.lapses, f"{key} was sent by a server whose lease is still good"
        before.append(Sending(server, server.lapses))
        return before[-1]

    @rule(pick=PICKS)
    def settle(self, pick: int) -> None:
        """Let a server write what it came to; one that is stopped had asked for it before."""
        server = self.server(pick, lambda server: server.ended)
        if server is not None and self.may_begin(server, late=True):
            self.settle_last(server)

    def settle_last(self, server: Server) -> None:
        """Let a server write what its last job came to."""
        ended = server.ended.pop()
        settle = self.fleet.queue[server.number].settle([ended.settlement], server.owner, self.wall)
        server.settling.append((ended, server.owner, self.fleet.call(settle, server.number)))
        self.take_answers()

    @rule(pick=PICKS)
    def release(self, pick: int) -> None:
        """Let a server give back what it has not begun; one that is stopped had asked for it before."""
        server = self.server(pick, lambda server: server.hand)
        if server is not None and self.may_begin(server, late=True) and not self.fleet.away[server.number]:
            rows = [row for job in server.hand for row in job.rows()]
            self.fleet.do(self.fleet.queue[server.number].release(rows, server.owner, self.wall), server.number)
            server.hand.clear()

    def reconcile(self, number: int) -> None:
        """Let a server free what the database says it owns and it lacked twice."""
        server = self.servers[number]
        if not self.may_begin(server) or not self.is_connected(server):
            return
        owned = self.fleet.do(self.fleet.queue[number].owned(server.owner), number)
        underway = {message.id for acceptance, *_ in server.accepting for message in acceptance.messages}
        lacking = {row for row in owned if row.message not in underway} - server.rows()
        lost = lacking & server.lacked
        server.lacked = lacking - lost
        self.fleet.do(self.fleet.queue[number].release(sorted(lost, key=_order), server.owner, self.wall), number)


def _order(row: Row) -> tuple[int, int]:
    return row.message, row.n
