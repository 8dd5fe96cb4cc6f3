"""mtad.outbound.claiming and ready: everybody's rows are found within a round or two, and shared by organisation."""

from collections import Counter
from collections.abc import Sequence
from itertools import count

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.envelope import Recipient
from mtad.model.errors import Unavailable
from mtad.model.job import Job, Lane
from mtad.outbound.claiming import Claiming
from mtad.outbound.lanes import Bounds, Lanes
from mtad.outbound.lease import Lease
from mtad.outbound.ready import MAX_LANES_OF_ONE, ReadyLanes
from mtad.testing.clock import MemoryWallClock
from mtad.testing.journal import MemoryJournal
from mtad.testing.queue import MemoryDatabase
from mtad.testing.store import MemoryStore
from tests.contract.letters import ALICE, letter
from tests.unit.test_lanes import begun, job

_ids = count(1)


class ClaimingTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.wall = MemoryWallClock(self.clock)
        self.journal = MemoryJournal()
        self.database = MemoryDatabase(MemoryStore(self.clock), self.clock)
        owner = self.successResultOf(Deferred.fromCoroutine(self.database.nodes.join("a", 0.0))).owner
        self.lease = Lease(owner, 0.0, self.clock.seconds)
        self.claimed: list[Job] = []
        self.running: list[Job] = []
        self.may = True
        self.closed: set[Lane] = set()
        self.claiming = self.claiming_for(Bounds(slots=100))

    def claiming_for(self, bounds: Bounds) -> Claiming:
        self.lanes = Lanes(bounds)
        return Claiming(
            queue=self.database.queue,
            lanes=self.lanes,
            wall=self.wall,
            journal=self.journal,
            lease=lambda: self.lease,
            may=lambda: self.may,
            closed=lambda lane: lane in self.closed,
            took=self.take,
        )

    def take(self, jobs: Sequence[Job]) -> None:
        self.claimed += jobs
        for each in jobs:
            self.lanes.wait(each, self.clock.seconds())
        self.running += begun(self.lanes)

    def queue(self, organisation: int, destination: str, rows: int = 1, *, size: int = 7, due_in: float = -1.0) -> None:
        for _ in range(rows):
            number = next(_ids)
            to = (Recipient(0, ALICE, ALICE, destination),)
            accepted = letter(number, recipients=to, organisation=organisation, size=size)
            self.database.store.accept(accepted, self.lease.owner)
            self.database.store.rows[number, 0].free(self.wall.now() + due_in)

    def round(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.claiming.round()))

    def again(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.claiming.again()))

    def end_all(self) -> None:
        """End what runs; what waits for its turn begins, and so on."""
        while self.running:
            self.lanes.end(self.running.pop())
            self.take([])

    def test_the_last_organisation_is_found_in_one_round_behind_thousands_with_nothing_due(self) -> None:
        for organisation in range(3000):
            self.queue(organisation, "mx:a.example", due_in=3600.0)
        self.queue(3001, "mx:a.example")
        self.round()
        self.assertEqual([job.organisation for job in self.claimed], [3001])

    def test_the_last_organisation_is_not_kept_waiting_by_the_backlogs_before_it(self) -> None:
        for organisation in range(40):
            self.queue(organisation, "mx:a.example", rows=30)
        self.queue(41, "mx:a.example")
        self.round()
        self.assertIn(41, [job.organisation for job in self.claimed])

    def test_organisations_share_whatever_their_number_of_destinations(self) -> None:
        for n in range(60):
            self.queue(1, f"mx:{n}.example", rows=4)
        for n in range(2):
            self.queue(2, f"mx:{n}.example", rows=120)
        self.claiming = self.claiming_for(Bounds(slots=2))
        while len(self.claimed) < 200:
            self.round()
            self.end_all()
        counts = Counter(job.organisation for job in self.claimed)
        self.assertLess(abs(counts[1] - counts[2]), 10)

    def test_a_full_place_keeps_nobody_else_waiting_and_is_claimed_for_as_it_frees(self) -> None:
        self.claiming = self.claiming_for(Bounds(slots=100, at_place=4, place=lambda destination: destination))
        for organisation in range(50):
            self.queue(organisation, "mx:full.example")
        self.queue(60, "mx:other.example")
        self.round()
        full = [job for job in self.running if job.destination == "mx:full.example"]
        self.assertEqual(len(full), 4)
        self.assertIn(60, [job.organisation for job in self.running])
        self.end_all()
        self.again()
        self.assertGreater(len(self.claimed), 8)
        self.assertLess(len([job for job in self.running if job.destination == "mx:full.example"]), 5)

    def test_a_backlog_that_is_claimed_all_the_time_hides_nobody(self) -> None:
        self.queue(1, "mx:a.example", rows=1000)
        self.round()
        self.database.delay(0.05)
        self.queue(2, "mx:b.example")
        asked = []
        for step in range(300):
            self.clock.advance(0.01)
            self.lanes.end(self.running.pop(0))
            self.take([])
            if self.claiming.more:
                asked.append(Deferred.fromCoroutine(self.claiming.again()))
            if step % 100 == 50:
                self.assertGreater(len(asked), 0)
                asked.append(Deferred.fromCoroutine(self.claiming.round()))
        self.assertIn(2, [job.organisation for job in self.claimed])
        self.assertIn(1, [job.organisation for job in self.claimed[-10:]], "there was more of it all the time")

    def test_a_lane_that_is_empty_is_forgotten(self) -> None:
        self.queue(1, "mx:a.example", rows=2)
        self.round()
        self.end_all()
        self.again()
        self.assertEqual((len(self.claimed), self.claiming.more), (2, False))

    def test_nothing_is_claimed_without_leave_and_nothing_is_lost_by_an_outage(self) -> None:
        self.queue(1, "mx:a.example")
        self.may = False
        self.round()
        self.assertEqual(self.claimed, [])
        self.may = True
        self.database.outage()
        self.failureResultOf(Deferred.fromCoroutine(self.claiming.round()), Unavailable)
        self.database.restore()
        self.round()
        self.assertEqual(len(self.claimed), 1)
        self.assertEqual([facts["count"] for facts in self.journal.of("queue.claimed")], [1])

    def test_a_lane_that_closes_meanwhile_is_not_claimed_from(self) -> None:
        for _ in range(2):
            self.queue(1, "mx:a.example")
            self.queue(2, "mx:a.example")
        self.claiming.learn([Lane(1, "mx:a.example"), Lane(2, "mx:a.example")])
        self.closed.add(Lane(1, "mx:a.example"))
        self.again()
        self.assertEqual({job.organisation for job in self.claimed}, {2})
        self.closed.clear()
        self.round()
        self.assertEqual({job.organisation for job in self.claimed}, {1, 2})

    def test_there_are_never_two_claims_at_once(self) -> None:
        self.queue(1, "mx:a.example")
        self.database.delay(1.0)
        first = Deferred.fromCoroutine(self.claiming.round())
        self.round()
        self.again()
        self.assertFalse(self.claiming.more)
        for _ in range(3):
            self.clock.advance(1.0)
        self.successResultOf(first)
        self.assertEqual(len(self.claimed), 1)


class ReadyLanesTest(SynchronousTestCase):
    def test_fifty_thousand_organisations_are_a_few_steps_a_pick(self) -> None:
        looks = Counter[str]()

        def place(destination: str) -> str:
            looks["place"] += 1
            return destination

        lanes = Lanes(Bounds(slots=100, at_place=4, place=place))
        ready = ReadyLanes()
        ready.learn(Lane(organisation, "mx:full.example") for organisation in range(50_000))
        ready.learn(Lane(organisation, "mx:other.example") for organisation in range(10))
        self.assertEqual(ready.pick(lanes).total(), 8)
        self.assertLess(len(ready), 10)
        looks.clear()
        for _ in range(10):
            picked = ready.pick(lanes)
            ready.claimed(picked, picked, [])
            ready.learn(picked)
        self.assertLess(looks["place"], 10 * 100)

    def test_large_messages_count_by_their_octets(self) -> None:
        sizes = {organisation: 92 * 1024 if organisation < 10 else 2 * 1024 for organisation in range(20)}
        lanes = Lanes(Bounds(slots=8))
        ready = ReadyLanes()
        ready.learn(Lane(organisation, f"mx:{n}.example") for organisation in sizes for n in range(3))
        rows = Counter[int]()
        for _ in range(500):
            picked = ready.pick(lanes)
            self.assertEqual(picked.total(), 10)
            ready.claimed(
                picked,
                picked,
                [
                    job(lane.destination, lane.organisation, claimed=True, size=sizes[lane.organisation])
                    for lane in picked.elements()
                ],
            )
            for lane in picked.elements():
                rows[lane.organisation] += 1
        large, small = sum(rows[n] for n in range(10)), sum(rows[n] for n in range(10, 20))
        self.assertApproximates(small / large, 10, 1)

    def test_what_was_not_found_is_not_charged(self) -> None:
        lanes = Lanes(Bounds(slots=1))
        ready = ReadyLanes()
        for organisation in (1, 2):
            ready.learn([Lane(organisation, "mx:a.example"), Lane(organisation, "mx:b.example")])
        picked = ready.pick(lanes)
        ready.claimed(picked, picked, [])
        self.assertEqual({lane.organisation for lane in ready.pick(lanes)}, {1, 2})

    def test_one_organisation_does_not_fill_what_is_remembered(self) -> None:
        ready = ReadyLanes()
        ready.learn(Lane(1, f"mx:{n}.example") for n in range(2 * MAX_LANES_OF_ONE))
        ready.learn([Lane(2, "mx:a.example")])
        self.assertEqual(len(ready), MAX_LANES_OF_ONE + 1)

    def test_a_lane_learned_twice_is_picked_once(self) -> None:
        ready = ReadyLanes()
        lane = Lane(1, "mx:a.example")
        ready.learn([lane, lane])
        ready.learn([lane])
        self.assertEqual(list(ready.pick(Lanes(Bounds(slots=10)))), [lane])
        self.assertEqual(len(ready), 0)
