"""mtad.outbound.lanes: turns, shares, places, and something left for everybody."""

from collections import Counter
from itertools import count

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.envelope import Recipient
from mtad.model.job import Job, Lane, Target
from mtad.outbound.lanes import Bounds, Lanes, cost, domain_of, lane_of
from tests.unit.directory_values import at

_ids = count(1)
_MB = 1024 * 1024


def job(
    destination: str, organisation: int = 10, *, claimed: bool = False, size: int = 10, sender: str | None = None
) -> Job:
    recipient = Recipient(0, at("a@acme.example"), at("a@acme.example"), destination)
    number = next(_ids)
    return Job(
        message=number,
        organisation=organisation,
        destination=destination,
        reverse_path=None if sender is None else Address("ann", sender),
        content_id=number,
        size=size,
        received_at=0.0,
        total=1,
        copies=1,
        targets=(Target(recipient, 1, 0, 9.0),),
        content=None if claimed else b"content",
    )


def anything(job: Job) -> bool:
    return True


def begun(lanes: Lanes) -> list[Job]:
    """Begin all that may begin; return it in its order."""
    found = []
    while (one := lanes.begin(anything)) is not None:
        found.append(one)
    return found


def fill(lanes: Lanes, destination: str, organisation: int = 10, jobs: int = 200) -> list[Job]:
    """Let many jobs wait in a lane; return those that begin now."""
    for _ in range(jobs):
        lanes.wait(job(destination, organisation), 0.0)
    return begun(lanes)


class SharesTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.lanes = Lanes(Bounds(slots=100))

    def fill(self, destination: str, organisation: int = 10, jobs: int = 200) -> list[Job]:
        return fill(self.lanes, destination, organisation, jobs)

    def test_a_lane_leaves_its_organisation_room_and_that_leaves_others_room(self) -> None:
        self.assertEqual(len(self.fill("mx:hangs.example", 1)), 20)
        self.assertEqual(len(self.fill("mx:hangs-too.example", 1)), 12)
        self.assertEqual(len(self.fill("mx:fast.example", 1)), 8)
        self.assertEqual(len(self.fill("local:acme.example", 2)), 12)

    def test_an_organisation_takes_no_more_than_it_leaves_free(self) -> None:
        for n in range(30):
            self.fill(f"mx:{n}.example", 1)
        self.assertEqual(self.lanes.begun_count, 50)
        self.assertEqual(len(self.fill("local:acme.example", 2)), 10)

    def test_there_is_something_for_who_has_nothing(self) -> None:
        for organisation in range(15):
            self.fill(f"mx:{organisation}.example", organisation)
        self.assertLess(self.lanes.begun_count, 100)
        self.assertEqual(len(self.fill("local:acme.example", 1000, jobs=1)), 1)

    def test_one_slot_is_for_whoever_comes(self) -> None:
        lanes = Lanes(Bounds(slots=1))
        (first,) = fill(lanes, "a", jobs=2)
        self.assertEqual(fill(lanes, "b", 20, jobs=1), [])
        lanes.end(first)
        self.assertEqual([each.destination for each in begun(lanes)], ["b"])

    def test_who_had_its_share_goes_on_as_jobs_end(self) -> None:
        jobs = self.fill("mx:a.example", 1)
        self.lanes.end(jobs[0])
        self.assertEqual(len(begun(self.lanes)), 1)


class TurnsTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.lanes = Lanes(Bounds(slots=1))

    def served(self, count: int) -> list[Job]:
        """Serve one after the other."""
        found = []
        for _ in range(count):
            one = self.lanes.begin(anything)
            assert one is not None
            self.lanes.end(one)
            found.append(one)
        return found

    def test_organisations_take_turns_whatever_their_messages_are(self) -> None:
        for _ in range(300):
            self.lanes.wait(job("mx:a.example", 1, size=_MB), 0.0)
            self.lanes.wait(job("mx:a.example", 2, size=4096), 0.0)
        octets = Counter[int]()
        for each in self.served(202):
            octets[each.organisation] += cost(each)
        self.assertLess(abs(octets[1] - octets[2]), 2 * _MB)

    def test_a_newcomer_waits_for_no_backlog(self) -> None:
        for _ in range(1000):
            self.lanes.wait(job("mx:a.example", 1), 0.0)
        self.served(10)
        self.lanes.wait(job("mx:a.example", 2), 0.0)
        self.assertIn(2, [each.organisation for each in self.served(3)])

    def test_domains_and_then_destinations_take_turns_within_an_organisation(self) -> None:
        for _ in range(40):
            for destination in ("mx:x.example", "mx:y.example"):
                self.lanes.wait(job(destination, sender="news.example"), 0.0)
            self.lanes.wait(job("mx:x.example", sender="shop.example"), 0.0)
        picks = Counter((domain_of(each), each.destination) for each in self.served(40))
        self.assertApproximates(picks["shop.example", "mx:x.example"], 20, 2)
        self.assertApproximates(picks["news.example", "mx:y.example"], 10, 2)

    def test_within_a_lane_first_come_first_served(self) -> None:
        jobs = [job("a") for _ in range(5)]
        for each in jobs:
            self.lanes.wait(each, 0.0)
        self.assertEqual(self.served(5), jobs)

    def test_what_was_claimed_and_what_was_handed_over_alternate(self) -> None:
        for _ in range(3):
            self.lanes.wait(job("a"), 0.0)
        for _ in range(2):
            self.lanes.wait(job("a", claimed=True), 0.0)
        served = [each.content is None for each in self.served(5)]
        self.assertEqual(served, [True, False, True, False, False])

    def test_a_stranger_has_no_more_turns_for_many_names(self) -> None:
        self.assertEqual(domain_of(job("local:acme.example", sender="any.example")), "acme.example")
        self.assertEqual(domain_of(job("mx:far.example", sender="acme.example")), "acme.example")
        self.assertEqual(domain_of(job("mx:far.example")), "")

    def test_what_does_not_fit_holds_up_its_lane_only(self) -> None:
        large, small = job("large"), job("small")
        for each in (large, small):
            self.lanes.wait(each, 0.0)
        self.assertIs(self.lanes.begin(lambda each: each is not large), small)
        self.assertIsNone(self.lanes.begin(anything))
        self.lanes.end(small)
        self.assertIs(self.lanes.begin(anything), large)

    def test_what_is_old_is_taken_out(self) -> None:
        early, late = job("a", claimed=True), job("a")
        self.lanes.wait(early, 1.0)
        self.lanes.wait(late, 2.0)
        self.assertEqual(list(self.lanes.older(1.0)), [early])
        self.assertEqual(begun(self.lanes), [late])


class PlacesTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.lanes = Lanes(Bounds(slots=100, at_place=4, place=lambda destination: destination))

    def test_a_place_has_no_more_than_it_takes_and_next_is_another_organisation(self) -> None:
        first = fill(self.lanes, "mx:a.example", 1)
        self.assertEqual(len(first), 4)
        self.assertEqual(fill(self.lanes, "mx:a.example", 2), [])
        for each in first[:2]:
            self.lanes.end(each)
        self.assertEqual(sorted(each.organisation for each in begun(self.lanes)), [1, 2])

    def test_others_go_on_beside_a_place_that_is_full(self) -> None:
        fill(self.lanes, "mx:a.example", 1)
        self.assertEqual(len(fill(self.lanes, "mx:b.example", 1)), 4)

    def test_ten_thousand_that_wait_for_a_place_are_not_looked_at_again_and_again(self) -> None:
        looks = Counter[str]()

        def place(destination: str) -> str:
            looks["place"] += 1
            return destination

        lanes = Lanes(Bounds(slots=100, at_place=4, place=place))
        for organisation in range(10_000):
            lanes.wait(job("mx:a.example", organisation), 0.0)
        running = begun(lanes)
        looks.clear()
        for _ in range(1000):
            lanes.end(running.pop(0))
            running += begun(lanes)
        self.assertEqual(len(running), 4)
        self.assertLessEqual(looks["place"], 2 * 1000)

    def test_whoever_waits_for_a_place_is_found_when_the_one_before_it_went(self) -> None:
        running = fill(self.lanes, "mx:a.example", 1, jobs=4)
        self.lanes.wait(job("mx:a.example", 2), 1.0)
        self.lanes.wait(job("mx:a.example", 3), 2.0)
        self.assertEqual(begun(self.lanes), [])
        self.assertEqual([each.organisation for each in self.lanes.older(1.0)], [2])
        self.lanes.end(running[0])
        self.assertEqual([each.organisation for each in begun(self.lanes)], [3])


class RoomTest(SynchronousTestCase):
    """How many jobs may be claimed."""

    def setUp(self) -> None:
        self.lanes = Lanes(Bounds(slots=100, at_place=20, place=lambda destination: destination))

    def test_room_is_a_share_of_what_is_left(self) -> None:
        lane = Lane(10, "a")
        self.assertEqual((self.lanes.lane_room(lane), self.lanes.organisation_room(10)), (20, 50))
        fill(self.lanes, "a", jobs=10)
        self.assertEqual(self.lanes.lane_room(lane), 10)
        self.assertEqual(self.lanes.organisation_room(10), 40)

    def test_what_is_handed_over_keeps_out_nothing_that_is_in_the_database(self) -> None:
        for organisation in range(30):
            fill(self.lanes, f"mx:{organisation}.example", organisation)
        self.assertEqual(self.lanes.begun_count, 100)
        lane = Lane(1, "mx:1.example")
        self.assertEqual(self.lanes.lane_room(lane), 1)
        self.lanes.wait(job("mx:1.example", 1, claimed=True), 0.0)
        self.assertEqual(self.lanes.lane_room(lane), 0)
        self.assertEqual(self.lanes.lane_room(Lane(2, "mx:2.example")), 1)

    def test_what_was_claimed_in_vain_is_not_claimed_again_until_something_moves(self) -> None:
        running = fill(self.lanes, "mx:hangs.example", 1)
        lane = Lane(1, "mx:hangs.example")
        for each in self.lanes.older(0.0):
            self.assertIsNotNone(each.content)
        self.lanes.wait(job("mx:hangs.example", 1, claimed=True), 0.0)
        self.assertEqual(len(list(self.lanes.older(0.0))), 1)
        self.assertEqual(self.lanes.lane_room(lane), 0)
        self.lanes.end(running[0])
        self.assertGreater(self.lanes.lane_room(lane), 0)

    def test_where_jobs_end_quickly_the_next_ones_are_claimed_ahead_and_where_they_hang_not(self) -> None:
        lane = Lane(1, "mx:fast.example")
        for _ in range(3):
            for each in fill(self.lanes, "mx:fast.example", 1, jobs=10):
                self.lanes.end(each)
        running = fill(self.lanes, "mx:fast.example", 1)
        self.assertEqual(len(running), 20)
        self.assertGreaterEqual(self.lanes.lane_room(lane), 10)
        for _ in range(10):
            self.lanes.pass_time()
        self.assertLessEqual(self.lanes.lane_room(lane), 1)

    def test_not_everybody_may_have_one_in_advance(self) -> None:
        for organisation in range(200):
            room = self.lanes.lane_room(Lane(organisation, f"mx:{organisation}.example"))
            for _ in range(min(room, 1)):
                self.lanes.wait(job(f"mx:{organisation}.example", organisation, claimed=True), 0.0)
        self.assertEqual(self.lanes.room, 0)
        self.assertEqual(len(begun(self.lanes)), 100)
        self.assertEqual(self.lanes.room, 0)

    def test_a_full_place_has_room_for_a_few_of_those_who_have_none(self) -> None:
        fill(self.lanes, "mx:a.example", 1)
        rooms = []
        for organisation in range(2, 12):
            lane = Lane(organisation, "mx:a.example")
            rooms.append(self.lanes.place_room(lane))
            for _ in range(rooms[-1]):
                self.lanes.wait(job("mx:a.example", organisation, claimed=True), 0.0)
        self.assertEqual(rooms, [1] * 5 + [0] * 5)


ACTS = st.tuples(st.sampled_from("wwce"), st.integers(0, 3), st.integers(1, 3), st.integers(0, 2))


class BooksTest(SynchronousTestCase):
    @given(st.lists(ACTS, max_size=80), st.integers(1, 9), st.integers(1, 4))
    def test_whatever_may_begin_begins_and_the_books_balance(
        self, acts: list[tuple[str, int, int, int]], slots: int, at_place: int
    ) -> None:
        lanes = Lanes(Bounds(slots, at_place, place=lambda destination: destination[:1]))
        waiting: dict[int, Job] = {}
        running: list[Job] = []
        for act, destination, organisation, domain in acts:
            if act == "e":
                if running:
                    lanes.end(running.pop(domain % len(running)))
            else:
                one = job(f"{destination}", organisation, claimed=act == "c", sender=f"{domain}.example")
                waiting[one.message] = one
                lanes.wait(one, 0.0)
            for one in begun(lanes):
                running.append(waiting.pop(one.message))
            self.assertEqual(lanes.begun_count, len(running))
            self.assertEqual([each for each in waiting.values() if may_begin(each, running, slots, at_place)], [])
        for one in running:
            self.assertGreaterEqual(lanes.lane_room(lane_of(one)), 0)
            lanes.end(one)
        self.assertEqual({each.message for each in lanes.older(0.0)}, waiting.keys())
        self.assertEqual((lanes.room, begun(lanes)), (slots + max(1, slots // 4), []))


def may_begin(one: Job, running: list[Job], slots: int, at_place: int) -> bool:
    """Return whether a job may begin beside those, by the rule as it is told."""
    free = slots - len(running)
    of_organisation = sum(each.organisation == one.organisation for each in running)
    of_lane = sum(lane_of(each) == lane_of(one) for each in running)
    of_place = sum(each.destination == one.destination for each in running)
    return of_organisation < free and 3 * of_lane < free - of_organisation and of_place < at_place
