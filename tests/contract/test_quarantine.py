"""What the queue keeps from its recipients: never delivered, never returned, freed or removed by people and by age."""

from twisted.internet.defer import Deferred

from mtad.adapters.postgres import care
from mtad.model.errors import Unavailable
from mtad.model.event import Event
from mtad.model.job import Lane, Row, Status
from tests.contract.letters import DAY, LANE, NOW, gone, letter, recipients, settlement
from tests.contract.processes import MemoryCase, PostgresCase

ACME = Lane(1, LANE)
ALL = frozenset((0, 1, 2))


class QuarantineContract:
    """What every queue keeps of it. `queue` is that of a process that joined as `owner`."""

    async def begin(self) -> None:
        self.here = await self.process()
        self.queue = self.here.queue
        self.people = self.here.people
        self.owner = (await self.here.nodes.join("here", NOW)).owner

    async def statuses(self, number: int) -> list[str]:
        waiting = await self.queue.waiting(number)
        return [row.status.value for row in waiting.rows] if waiting else []

    async def events(self, number: int) -> list[Event]:
        return [event for happening in await self.here.timeline.story(number) for event in happening.events]

    async def test_it_is_accepted_as_nobodys(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(3), quarantined=frozenset((1,))), self.owner)
        self.assertEqual(await self.statuses(7), ["delivering", "quarantined", "delivering"])
        self.assertEqual(await self.queue.owned(self.owner), [Row(7, 0, 1), Row(7, 2, 1)])
        self.assertEqual((await self.queue.sizes())[Status.QUARANTINED], 1)
        self.assertEqual([each.message for each in await self.people.listing(Status.QUARANTINED, 10)], [7])
        (_, kept, _) = (await self.queue.waiting(7)).rows
        self.assertEqual((kept.due, kept.expires_at, kept.owner, kept.attempts), (NOW, NOW + 5 * DAY, 0, 0))

    async def test_a_large_one_as_well(self) -> None:
        await self.queue.accept(letter(7, b"x" * 1_300_000, quarantined=frozenset((0,))), self.owner)
        self.assertEqual(await self.statuses(7), ["quarantined"])
        self.assertEqual(await self.queue.owned(self.owner), [])

    async def test_nobody_delivers_it(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(3), quarantined=ALL), self.owner)
        self.assertEqual((await self.queue.ready(NOW + DAY, 10)).lanes, ())
        self.assertEqual(await self.queue.claim(self.owner, [ACME], 10, NOW + DAY), [])
        self.assertEqual(await self.here.nodes.take_over(self.owner, 0, NOW + 1), 0)
        self.assertEqual(await self.here.nodes.free_orphans(NOW + 1), 0)
        self.assertEqual(await self.people.retry(7, NOW + 2, "mtactl"), 0)
        self.assertEqual(await self.queue.sweep(NOW + DAY), 0)
        self.assertEqual(await self.statuses(7), ["quarantined"] * 3)

    async def test_nobody_returns_it(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(3), quarantined=ALL), self.owner)
        self.assertIsNone(await self.queue.seize(7, self.owner))
        await self.queue.accept(letter(8, recipients=recipients(3), quarantined=frozenset((0, 2))), self.owner)
        await self.queue.release([Row(8, 1, 1)], self.owner, NOW)
        job = await self.queue.seize(8, self.owner)
        self.assertEqual([target.recipient.n for target in job.targets], [1])
        await self.queue.settle([settlement(8, gone(1, claim=2), total=3)], self.owner, NOW + 1)
        self.assertEqual(await self.statuses(8), ["quarantined"] * 2)

    async def test_what_is_freed_is_delivered_and_given_up_later(self) -> None:
        kept = letter(7, recipients=recipients(2), quarantined=frozenset((0, 1)))
        await self.queue.accept(kept, self.owner)
        self.assertEqual(await self.people.free_quarantined(7, NOW + 3 * DAY, "mtactl queue release"), 2)
        rows = (await self.queue.waiting(7)).rows
        self.assertEqual({row.status for row in rows}, {Status.QUEUED})
        self.assertEqual({(row.due, row.expires_at) for row in rows}, {(NOW + 3 * DAY, NOW + 8 * DAY)})
        told = (await self.events(7))[-1]
        self.assertEqual((told.kind, told.at, told.facts["by"]), ("released", NOW + 3 * DAY, "mtactl queue release"))
        self.assertEqual(sorted(told.facts["recipients"]), ["user0@acme.example", "user1@acme.example"])
        (job,) = await self.queue.claim(self.owner, [ACME], 10, NOW + 3 * DAY)
        self.assertEqual([(target.claim, target.attempts) for target in job.targets], [(3, 0), (3, 0)])
        self.assertEqual(await self.people.free_quarantined(7, NOW + 4 * DAY, "mtactl"), 0)
        self.assertEqual(await self.people.free_quarantined(8, NOW + 4 * DAY, "mtactl"), 0)

    async def test_freeing_leaves_the_others_alone(self) -> None:
        await self.queue.accept(letter(7, recipients=recipients(2), quarantined=frozenset((1,))), self.owner)
        self.assertEqual(await self.people.free_quarantined(7, NOW + 1, "mtactl"), 1)
        self.assertEqual(await self.statuses(7), ["delivering", "queued"])
        self.assertEqual(await self.queue.owned(self.owner), [Row(7, 0, 1)])

    async def test_it_can_be_removed(self) -> None:
        await self.queue.accept(letter(7, quarantined=frozenset((0,))), self.owner)
        self.assertEqual(await self.people.remove(7, NOW + 1, "mtactl"), 1)
        self.assertIsNone(await self.queue.waiting(7))
        await self.assertFailure(Deferred.fromCoroutine(self.queue.content(7)), KeyError)

    async def test_it_goes_by_age(self) -> None:
        for number in range(1, 6):
            terms = {"received_at": NOW + number, "recipients": recipients(2), "quarantined": frozenset((0, 1))}
            await self.queue.accept(letter(number, **terms), self.owner)
        await self.queue.accept(letter(9, recipients=recipients(2), quarantined=frozenset((1,))), self.owner)
        self.assertEqual(await self.queue.expire_quarantined(NOW + 4, NOW + DAY, "queue.quarantine_keep"), 7)
        self.assertEqual([await self.statuses(number) for number in (1, 2, 3)], [[]] * 3)
        self.assertEqual([await self.statuses(number) for number in (4, 5)], [["quarantined"] * 2] * 2)
        self.assertEqual(await self.statuses(9), ["delivering"])
        await self.assertFailure(Deferred.fromCoroutine(self.queue.content(1)), KeyError)
        self.assertEqual(await self.queue.content(9), b"content")
        told = (await self.events(3))[-1]
        self.assertEqual((told.kind, told.at, told.facts["count"]), ("removed", NOW + DAY, 2))
        self.assertEqual(told.facts["by"], "queue.quarantine_keep")
        self.assertEqual([each.kind for each in await self.events(9)], ["received", "removed"])
        self.assertEqual(await self.queue.expire_quarantined(NOW + 4, NOW + DAY, "again"), 0)

    async def test_what_was_given_up_but_written_is_removed_with_it(self) -> None:
        self.lose_all_answers()
        kept = letter(7, recipients=recipients(2), quarantined=frozenset((1,)))
        waiting = Deferred.fromCoroutine(self.queue.accept(kept, self.owner))
        await self.written(7)
        self.wait_in_vain()
        await self.assertFailure(waiting, Unavailable)
        await self.restore()
        await self.queue.accept(letter(8), self.owner)
        self.assertIsNone(await self.queue.waiting(7))


class MemoryQuarantineTest(QuarantineContract, MemoryCase):
    async def setUp(self) -> None:
        super().setUp()
        await self.begin()

    async def written(self, number: int) -> None:
        self.assertIn(number, self.store.messages)


class PostgresQuarantineTest(QuarantineContract, PostgresCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.begin()
        self.patch(care, "_EXPIRED_AT_ONCE", 2)

    async def written(self, number: int) -> None:
        await self.gate.lost
        self.assertEqual(await self.pool.query("select id from messages"), [(number,)])
