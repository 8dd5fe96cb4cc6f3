"""mtad.outbound.lanes: turns, shares, and something left for everybody."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.envelope import Recipient
from mtad.model.job import Job, Lane, Target
from mtad.outbound.lanes import Lanes, lane_of
from tests.unit.directory_values import at

_ids = count(1)


def job(destination: str, organisation: int = 10) -> Job:
    recipient = Recipient(0, at("a@acme.example"), at("a@acme.example"), destination)
    number = next(_ids)
    return Job(number, organisation, destination, None, number, 10, 0.0, 1, 1, (Target(recipient, 1, 0, 9.0),))


def anything(job: Job) -> bool:
    return True


class LanesTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.lanes = Lanes(slots=100)

    def fill(self, destination: str, organisation: int = 10, jobs: int = 200) -> list[Job]:
        """Let many jobs wait in a lane; return those that begin now."""
        for _ in range(jobs):
            self.lanes.wait(job(destination, organisation), 0.0)
        return self.begun()

    def begun(self) -> list[Job]:
        begun = []
        while (one := self.lanes.begin(anything)) is not None:
            begun.append(one)
        return begun

    def test_one_lane_takes_a_fifth_and_the_next_a_fifth_of_the_rest(self) -> None:
        self.assertEqual(len(self.fill("mx:hangs.example", 1)), 20)
        self.assertEqual(len(self.fill("mx:hangs-too.example", 2)), 16)
        self.assertEqual(len(self.fill("local:acme.example", 3)), 13)

    def test_an_organisation_takes_no_more_than_a_lane(self) -> None:
        for n in range(30):
            self.fill(f"mx:{n}.example", 1)
        self.assertEqual(self.lanes.begun_count, 50)
        self.assertEqual(len(self.fill("local:acme.example", 2)), 10)

    def test_there_is_something_for_who_has_nothing(self) -> None:
        for organisation in range(15):
            self.fill(f"mx:{organisation}.example", organisation)
        self.assertLess(self.lanes.begun_count, 100)
        self.assertEqual(len(self.fill("local:acme.example", 1000, jobs=1)), 1)

    def test_lanes_take_turns(self) -> None:
        for destination in ("a", "b", "c"):
            for _ in range(3):
                self.lanes.wait(job(destination), 0.0)
        order = [begun.destination for begun in self.begun()]
        self.assertEqual(order, ["a", "b", "c"] * 3)

    def test_within_a_lane_first_come_first_served(self) -> None:
        jobs = [job("a") for _ in range(5)]
        for each in jobs:
            self.lanes.wait(each, 0.0)
        self.assertEqual(self.begun(), jobs)

    def test_what_does_not_fit_holds_up_its_lane_only(self) -> None:
        large, small = job("large"), job("small")
        for each in (large, small):
            self.lanes.wait(each, 0.0)
        self.assertIs(self.lanes.begin(lambda each: each is not large), small)
        self.assertIsNone(self.lanes.begin(lambda each: each is not large))

    def test_what_is_old_is_taken_out(self) -> None:
        early, late = job("a"), job("a")
        self.lanes.wait(early, 1.0)
        self.lanes.wait(late, 2.0)
        self.assertEqual(list(self.lanes.older(1.0)), [early])
        self.assertEqual(self.begun(), [late])

    def test_room_leaves_four_times_what_it_takes(self) -> None:
        lane = Lane(10, "a")
        self.assertEqual(self.lanes.room(lane), 20)
        self.fill("a", jobs=10)
        self.assertEqual((self.lanes.free, self.lanes.room(lane)), (90, 10))
        self.assertEqual(self.lanes.room(Lane(20, "b")), 18)

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3), st.booleans()), max_size=60))
    def test_the_books_balance(self, acts: list[tuple[int, int, bool]]) -> None:
        lanes = Lanes(slots=8)
        running: list[Job] = []
        for destination, organisation, ending in acts:
            if ending and running:
                lanes.end(running.pop())
            else:
                lanes.wait(job(f"{destination}", organisation), 0.0)
            while (one := lanes.begin(anything)) is not None:
                running.append(one)
            self.assertEqual(lanes.begun_count, len(running))
            self.assertLessEqual(len(running), 8)
        for one in running:
            self.assertGreaterEqual(lanes.room(lane_of(one)), 0)
            lanes.end(one)
        list(lanes.older(0.0))
        self.assertEqual((lanes.free, lanes.room(Lane(1, "0"))), (8, 1))
