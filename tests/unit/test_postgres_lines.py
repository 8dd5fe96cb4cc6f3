"""Who goes together into one batch."""

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.postgres.libpq import Refused, Request
from mtad.adapters.postgres.lines import Batch, Item, Line
from mtad.model.errors import Unavailable

DATA = Refused("22P02", "bad value")


class Parcels(Line[Item]):
    """A line that remembers what happened."""

    def __init__(self, **terms: int) -> None:
        super().__init__(**terms)
        self.refusals: list[Item] = []
        self.outs: list[Item] = []

    def request(self, items: Sequence[Item]) -> Request:
        return ()

    def done(self, items: Sequence[Item], results: list[object]) -> None:
        for item in items:
            item.succeed([])

    def refused(self, item: Item, refusal: Refused) -> None:
        self.refusals.append(item)

    def dropped(self, item: Item) -> None:
        self.outs.append(item)


class LineTest(SynchronousTestCase):
    def put(self, line: Parcels, *items: Item) -> list[Item]:
        for item in items:
            line.put(item)
        return list(items)

    def taken(self, line: Parcels) -> list[list[Item]]:
        batches = []
        while batch := line.take():
            batches.append(batch.items)
        return batches

    def test_all_that_waits_goes_together(self) -> None:
        line = Parcels()
        items = self.put(line, *(Item(1) for _ in range(9)))
        self.assertFalse(line.empty)
        self.assertEqual(self.taken(line), [items])
        self.assertTrue(line.empty)
        self.assertIsNone(line.take())

    def test_a_batch_is_bounded_by_count(self) -> None:
        line = Parcels(count=4)
        self.put(line, Item(1, count=2), Item(1, count=3), Item(1), Item(1, count=9), Item(1))
        self.assertEqual([[item.count for item in items] for items in self.taken(line)], [[2], [3, 1], [9], [1]])

    def test_a_batch_is_bounded_by_octets(self) -> None:
        line = Parcels(octets=100)
        self.put(line, *(Item(1, octets=octets) for octets in (60, 40, 1, 200, 0, 100)))
        sizes = [[item.octets for item in items] for items in self.taken(line)]
        self.assertEqual(sizes, [[60, 40], [1], [200], [0, 100]])

    def test_a_batch_has_one_owner(self) -> None:
        line = Parcels()
        self.put(line, Item(1), Item(1), Item(2), Item(1))
        self.assertEqual([[item.owner for item in items] for items in self.taken(line)], [[1, 1], [2], [1]])

    def test_only_so_many_connections_serve_a_line(self) -> None:
        line = Parcels(count=1, width=2)
        self.put(line, Item(1), Item(1), Item(1))
        first, _ = line.take(), line.take()
        self.assertIsNone(line.take())
        first.done([])
        self.assertIsNotNone(line.take())

    def test_what_comes_back_goes_first_and_in_order(self) -> None:
        line = Parcels()
        items = self.put(line, Item(1), Item(1))
        batch = line.take()
        later = self.put(line, Item(1))
        batch.come_back(tried=True)
        self.assertEqual(self.taken(line), [items + later])

    def test_a_refused_batch_is_halved_until_one_is_alone(self) -> None:
        line = Parcels()
        items = self.put(line, *(Item(1) for _ in range(13)))
        culprits = {items[3], items[12]}
        carried = 0
        while batch := line.take():
            carried += 1
            if culprits & set(batch.items):
                batch.refused(DATA)
            else:
                batch.done([])
        self.assertEqual(set(line.refusals), culprits)
        self.assertEqual({item for item in items if item.answered}, set(items) - culprits)
        self.assertLess(carried, 2 * 2 * 5)

    def test_what_nobody_waits_for_does_not_go(self) -> None:
        line = Parcels()
        gone, left = self.put(line, Item(1), Item(1))
        gone.answer.addErrback(lambda _: None)
        gone.fail(Unavailable("postgres", "late"))
        self.assertEqual(self.taken(line), [[left]])
        self.assertEqual(line.outs, [gone])

    def test_all_that_waits_may_be_failed(self) -> None:
        line = Parcels()
        first = self.put(line, Item(1), Item(1))
        line.take().refused(DATA)
        second = self.put(line, Item(1))
        line.fail_all(Unavailable("postgres", "closed"))
        for item in first + second:
            self.failureResultOf(item.answer, Unavailable)
        self.assertTrue(line.empty)

    def test_an_item_is_answered_once(self) -> None:
        item = Item(1)
        item.succeed([])
        item.fail(Unavailable("postgres", "late"))
        self.assertEqual(self.successResultOf(item.answer), [])

    def test_a_batch_asks_what_its_line_asks(self) -> None:
        self.assertEqual(Batch(Parcels(), []).request(), ())


class RefusalTest(SynchronousTestCase):
    def test_what_is_whose_fault(self) -> None:
        for code, for_its_data, for_now in (
            ("22P02", True, False), ("23514", True, False), ("54000", True, False),
            ("40P01", False, True), ("57014", False, True), ("53100", False, True), ("25006", False, True),
            ("42P01", False, False), ("XX000", False, False),
        ):  # fmt: skip
            refusal = Refused(code, "text")
            self.assertEqual((refusal.for_its_data, refusal.for_now), (for_its_data, for_now), code)
