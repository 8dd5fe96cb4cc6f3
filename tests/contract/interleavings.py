"""Random interleavings of all that happens to rows, as a machine that hypothesis drives (DESIGN D7, D8).

Hypothesis plays three servers, their clocks, the network and the people. `Server` keeps what a process has in memory,
`Interleavings` what was promised and what was sent. The rules it keeps an eye on:

- no row is lost: one that was promised is in the table until it was sent, or somebody removed it;
- no row is sent by two servers whose leases were good all the time, nor again once its settlement was written;
- what a server with a good lease has in hand is its own in the table, under the claim it has it under;
- nothing is done for a node that has no row; nothing is left of what was given up and nobody had;
- no message and no content is there without rows once the sweeper was, none is missing with rows.

Time is the machine's own: a server that is awake and has its way to the database beats, one that does not loses its
lease after 10 s, and may be seen dead after 15 s, and taken over any time later, whatever it did meanwhile. What a
stopped server had asked for may still arrive: some rules let it act without a lease, as one does that is stopped
between the look at its lease and the act. What it had begun goes on once it does, under the lease it was begun under.

No rule is kept from its turn by what came of others, for in a real database that is not the same twice: one that has
nothing to do does nothing.
"""

from collections import Counter
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from mtad.model.hold import Hold, HoldScope
from mtad.model.identity import print_id
from tests.contract.fleets import Found
from tests.contract.letters import DAY, LANE
from tests.contract.played import Delivery, Key
from tests.contract.played_mail import COUNTS, KINDS, OUTCOMES, Mail
from tests.contract.played_nodes import ENOUGH_SECONDS, PICKS, SERVERS

MAIL = st.tuples(SERVERS, COUNTS, KINDS)
BY = "mtactl"


class Interleavings(Mail):
    """The machine; `fleet` is what it drives, `looks_always` whether the tables are looked at after every step."""

    looks_always: ClassVar[bool] = True

    @initialize(mail=st.lists(MAIL, min_size=3, max_size=6), given_back=st.booleans())
    def begin(self, mail: list[tuple[int, int, str]], given_back: bool) -> None:
        """Start three servers over nothing, and let them accept, perhaps give back, their first mail."""
        self.removed: set[Key] = set()
        self.begin_mail()
        self.begin_nodes()
        for number, count, kind in mail:
            self.accept(number, count, kind)
        while given_back and any(server.hand for server in self.servers):
            self.release(0)

    # What takes many steps.

    @rule(
        number=SERVERS, how=st.sampled_from(("stall", "outage", "crash")), tried=st.booleans(), begun=st.booleans(),
        back=st.booleans(), cut_short=st.booleans(), claimed=st.booleans(), outcomes=OUTCOMES,
    )  # fmt: skip
    def succeed(
        self, number: int, how: str, *, tried: bool, begun: bool, back: bool, cut_short: bool, claimed: bool,
        outcomes: list[str],
    ) -> None:  # fmt: skip
        """Let a server fall silent, perhaps with mail just tried or begun, and another take over what it had.

        It may be `back` when it was seen dead and is not taken over yet.
        """
        server = self.servers[number]
        if tried and self.may_deliver(server):
            self.send_job(server, server.hand.pop(), outcomes)
        if begun and self.may_deliver(server):
            server.begun.append(Delivery(server.hand.pop(), server.lease))
        owner = server.owner
        {"stall": self.stall, "outage": self.outage, "crash": self.crash}[how](number)
        self.pass_time(ENOUGH_SECONDS)
        self.look_for(owner)
        if back:
            self.come_back(number)
        if any(seen == owner for seen, _ in self.seen_dead):
            self.take_over([seen for seen, _ in self.seen_dead].index(owner), together=False, cut_short=cut_short)
        if claimed:
            heir = next((each for each in self.observers(owner) if each.number != number), self.servers[number])
            self.free_orphans(heir.number)
            self.claim(heir.number, 100, heard=True, late=False)

    def look_for(self, owner: int) -> None:
        """See that a node is dead, if it is."""
        if owner in self.silent():
            self.look_around(self.silent().index(owner))

    def come_back(self, number: int) -> None:
        """Let a server go on, and have its way again."""
        server = self.servers[number]
        server.asleep = False
        if self.fleet.away[number]:
            self.fleet.restore(number, server.waits())
            self.take_answers()
        self.beat(server)

    @rule(number=SERVERS, count=COUNTS, kind=KINDS)
    def accept_in_vain(self, number: int, count: int, kind: str) -> None:
        """Let a server accept what it will give up, for it never hears that it was done."""
        if not self.fleet.away[number] and self.may_begin(self.servers[number]):
            self.fleet.lose_answer(number, outage=True)
            self.accept(number, count, kind)
            self.pass_time(ENOUGH_SECONDS)

    # People

    def message(self, pick: int) -> int | None:
        """Return one of the messages there are."""
        return self.some(pick, sorted({message for message, _ in self.fleet.found().rows}))

    @rule(
        number=SERVERS, pick=PICKS,
        what=st.sampled_from(("hold", "let_go", "let_go_all", "retry", "remove", "free_quarantined", "seize")),
    )  # fmt: skip
    def people(self, number: int, pick: int, what: str) -> None:
        """Let somebody deal with mail by hand."""
        getattr(self, what)(pick, number)

    def hold(self, pick: int, number: int) -> None:
        """Let somebody keep mail back: one organisation's, one message, or one domain's."""
        scope = (HoldScope.ORGANISATION, HoldScope.MESSAGE, HoldScope.RECIPIENT_DOMAIN)[number]
        message = self.message(pick)
        if message is not None:
            what = {HoldScope.ORGANISATION: "one", HoldScope.MESSAGE: print_id(message)}
            hold = Hold(scope, what.get(scope, LANE.partition(":")[2]), "to be seen", BY, self.wall, 1, self.wall + DAY)
            self.fleet.do(self.fleet.holds.place(hold))
            self.known_holds = None

    def let_go(self, pick: int, _: int) -> None:
        """Let somebody release a hold, and a server free what it kept."""
        hold = self.some(pick, list(self.fleet.do(self.fleet.holds.active())))
        if hold is not None:
            self.fleet.do(self.fleet.holds.release(hold.id, self.wall, BY))
            self.known_holds = None
        self.fleet.do(self.fleet.holds.free(self.wall))

    def let_go_all(self, pick: int, number: int) -> None:
        """Let somebody release all holds."""
        for _ in self.fleet.do(self.fleet.holds.active()):
            self.let_go(pick, number)

    def retry(self, pick: int, _: int) -> None:
        """Let somebody have a message tried now."""
        message = self.message(pick)
        if message is not None:
            self.fleet.do(self.fleet.people.retry(message, self.wall, BY))

    def remove(self, pick: int, _: int) -> None:
        """Let somebody remove what nobody has of a message."""
        message = self.message(pick)
        if message is not None:
            before = set(self.fleet.found().rows)
            self.fleet.do(self.fleet.people.remove(message, self.wall, BY))
            self.removed |= before - set(self.fleet.found().rows)

    def free_quarantined(self, pick: int, _: int) -> None:
        """Let somebody free a message from its quarantine."""
        message = self.message(pick)
        if message is not None:
            self.fleet.do(self.fleet.people.free_quarantined(message, self.wall, BY))

    def seize(self, pick: int, number: int) -> None:
        """Let a server take all rows of a message that nobody has, whatever they wait for."""
        server, message = self.servers[number], self.message(pick)
        if message is not None and self.may_begin(server) and self.is_connected(server):
            job = self.fleet.do(self.fleet.queue[number].seize(message, server.owner), number)
            server.hand += [job] if job is not None else []

    @rule(number=SERVERS, what=st.sampled_from(("reconcile", "free_orphans", "look", "sweep")))
    def care(self, number: int, what: str) -> None:
        """Let somebody look after the queue."""
        getattr(self, what)(number)

    # What holds all the time.

    @invariant()
    def looked_at(self) -> None:
        """Look at the tables."""
        if self.looks_always:
            self.judge(self.fleet.found())

    def look(self, _: int = 0) -> None:
        """Look at the tables now."""
        self.judge(self.fleet.found())

    def judge(self, found: Found) -> None:
        """See that the tables hold what was promised, and what was given up no longer."""
        lost = self.promised - set(found.rows) - set(self.sent) - self.removed
        assert not lost, f"lost: {lost}"
        assert {message for message, _ in found.rows} <= found.messages, "rows without a message"
        assert found.carried <= found.contents, "a message without content"
        for server in self.servers:
            left = {} if self.fleet.away[server.number] else found.rows
            undone = {key for key, row in left.items() if key[0] in server.given_up and row[2] == 1}
            assert not undone, f"given up, and still there: {undone}"
        self.judge_hands(found)

    def judge_hands(self, found: Found) -> None:
        """See that those in whose hands rows are own them."""
        in_hand: Counter[Key] = Counter()
        for server in filter(self.is_good, self.servers):
            for row in (row for job in server.jobs() for row in job.rows()):
                there = found.rows.get((row.message, row.n))
                assert there == ("delivering", server.owner, row.claim), f"{row} is in hand, and in the table {there}"
                in_hand[row.message, row.n] += 1
        assert not in_hand or max(in_hand.values()) == 1, f"in two hands: {in_hand}"

    def sweep(self, _: int = 0) -> None:
        """Sweep, and find nothing without rows."""
        if not any(server.waits() for server in self.servers):
            self.fleet.do(self.fleet.care.sweep(self.wall + 1))
            found = self.fleet.found()
            assert found.messages == {message for message, _ in found.rows}
            assert found.contents == found.carried

    # The end

    def teardown(self) -> None:
        """Heal all, let the queue run empty, and see that everything promised was sent."""
        if not hasattr(self, "servers"):
            return
        rounds = 0
        while self.fleet.found().rows or any(server.ended for server in self.servers) or not rounds:
            rounds += 1
            assert rounds < 10, f"these rows never end: {self.fleet.found().rows}"
            self.run_down()
        self.judge(self.fleet.found())
        unsent = self.promised - set(self.sent) - self.removed
        assert not unsent, f"never sent: {unsent}"
        self.sweep()

    def run_down(self) -> None:
        """Let everybody do what there is to do, once."""
        for server in self.servers:
            server.asleep = False
        while any(self.fleet.away):
            self.restore(0)
        self.pass_time(ENOUGH_SECONDS)
        for owner in self.silent():
            self.look_for(owner)
        for _ in list(self.seen_dead):
            self.take_over(0, together=False, cut_short=False)
        for server in self.servers:
            self.free_orphans(server.number)
            for _ in range(2):
                self.reconcile(server.number)
        self.let_go_all(0, 0)
        self.fleet.do(self.fleet.holds.free(self.wall))
        for message in {message for message, _ in self.fleet.found().rows}:
            self.fleet.do(self.fleet.people.free_quarantined(message, self.wall, BY))
            self.fleet.do(self.fleet.people.retry(message, self.wall, BY))
        self.claim(0, 100, heard=True, late=False)
        for server in self.servers:
            for delivery in list(server.begun):
                self.go_on(server, delivery, ["gone"])
            while server.hand:
                self.send_job(server, server.hand.pop(), ["gone"])
            while server.ended and not self.fleet.away[server.number]:
                self.settle_last(server)
