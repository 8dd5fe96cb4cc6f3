"""The timeline's contract, on its twin and on PostgreSQL."""

from datetime import UTC, datetime, timedelta

from twisted.internet.defer import Deferred, gatherResults
from zope.interface.verify import verifyObject

from mtad.interfaces import ITimeline
from mtad.model.event import RECEIVED, Event, Happening
from tests.contract.letters import DAY, NOW, again, gone, letter, settlement, shared_letter
from tests.contract.processes import MemoryCase, PostgresCase


def started(coroutine: object) -> Deferred:
    return Deferred.fromCoroutine(coroutine)


class TimelineContract:
    """What every timeline keeps."""

    async def begin(self) -> None:
        self.here = await self.process()
        self.timeline, self.queue = self.here.timeline, self.here.queue
        self.owner = (await self.here.nodes.join("here", NOW)).owner

    async def received(self, number: int, at: float, **terms: object) -> None:
        event = Event(RECEIVED, at, {"peer": "192.0.2.1"})
        await self.queue.accept(letter(number, received_at=at, events=(event,), **terms), self.owner)

    async def test_it_provides_its_port(self) -> None:
        self.assertTrue(verifyObject(ITimeline, self.timeline))

    async def test_a_story_is_told_in_order_and_in_full(self) -> None:
        facts = {"text": 'it\'s "☃"\n', "count": 7, "share": 0.5, "sure": True, "none": None, "list": ["a", "b\0"]}
        first = (Event(RECEIVED, NOW, facts), Event("routed", NOW + 0.25, {}))
        await self.queue.accept(letter(7, organisation=3, events=first), self.owner)
        await self.queue.settle([settlement(7, again(), organisation=3)], self.owner, NOW + 10)
        await self.queue.settle([settlement(7, gone(claim=2), organisation=3, at=NOW + 20)], self.owner, NOW + 20.5)
        self.assertEqual(
            await self.timeline.story(7),
            [
                Happening(7, 3, NOW, first),
                Happening(7, 3, NOW + 10, (Event("deferred", NOW + 1, {"n": 0}),)),
                Happening(7, 3, NOW + 20.5, (Event("delivered", NOW + 20, {"n": 0}),)),
            ],
        )

    async def test_nothing_is_known_of_a_message_that_never_was(self) -> None:
        self.assertEqual(await self.timeline.story(7), [])
        self.assertEqual(await self.timeline.search("nobody@acme.example", 10), [])

    async def test_what_wrote_no_event_happened_silently(self) -> None:
        await self.queue.accept(letter(7, events=()), self.owner)
        self.assertEqual(await self.timeline.story(7), [])

    async def test_messages_are_found_by_their_keys_newest_first(self) -> None:
        for number in (1, 2, 3):
            await self.received(number, NOW + number, keys=("Bob@Acme.example", f"<{number}@x>", "192.0.2.1"))
        self.assertEqual(await self.timeline.search("bob@acme.EXAMPLE", 10), [3, 2, 1])
        self.assertEqual(await self.timeline.search("<bob@acme.example>", 2), [3, 2])
        self.assertEqual(await self.timeline.search("2@x", 10), [2])
        self.assertEqual(await self.timeline.search("acme.example", 10), [])

    async def test_a_key_given_twice_finds_once(self) -> None:
        await self.received(7, NOW, keys=("a@b.example", "A@b.example", "a@b.example"))
        self.assertEqual(await self.timeline.search("a@b.example", 10), [7])

    async def test_a_search_may_be_kept_to_an_organisation(self) -> None:
        await self.queue.accept(shared_letter(7, 8), self.owner)
        self.assertEqual(await self.timeline.search("alice@acme.example", 10), [8, 7])
        self.assertEqual(await self.timeline.search("alice@acme.example", 10, 1), [7])
        self.assertEqual(await self.timeline.search("alice@acme.example", 10, 3), [])

    async def test_a_story_survives_its_message(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        await self.queue.settle([settlement(7, gone())], self.owner, NOW + 1)
        await self.queue.sweep(NOW + DAY)
        self.assertEqual(len(await self.timeline.story(7)), 2)
        self.assertEqual(await self.timeline.search("alice@acme.example", 10), [7])

    async def test_maintenance_drops_whole_days_that_are_old(self) -> None:
        midnight = NOW - NOW % DAY
        await self.timeline.maintain(NOW, 3 * DAY)
        ages = {1: midnight - 1, 2: midnight, 3: midnight + 1, 4: midnight + DAY, 5: midnight + 30 * DAY}
        for number, at in ages.items():
            await self.received(number, at)
        await self.timeline.maintain(NOW + 3 * DAY, 3 * DAY)
        told = [number for number in ages if await self.timeline.story(number)]
        self.assertEqual(told, [2, 3, 4, 5])
        self.assertEqual(await self.timeline.search("alice@acme.example", 10), [5, 4, 3, 2])
        await self.timeline.maintain(NOW + 5 * DAY, 3 * DAY)
        self.assertEqual(await self.timeline.search("alice@acme.example", 10), [5])
        self.assertEqual([number for number in ages if await self.timeline.story(number)], [5])

    async def test_several_may_do_maintenance_at_once(self) -> None:
        await self.received(1, NOW - 10 * DAY)
        for day in (0, 4):
            await gatherResults([started(self.timeline.maintain(NOW + day * DAY, DAY)) for _ in range(3)])
            await self.timeline.maintain(NOW + day * DAY, DAY)
        self.assertEqual(await self.timeline.story(1), [])


class MemoryTimelineTest(TimelineContract, MemoryCase):
    async def setUp(self) -> None:
        super().setUp()
        await self.begin()


class PostgresTimelineTest(TimelineContract, PostgresCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.drop_partitions()
        await self.begin()

    async def drop_partitions(self) -> None:
        for name in await self.partitions("message_events") + await self.partitions("message_keys"):
            await self.pool.query(f"drop table {name}")

    async def partitions(self, table: str) -> list[str]:
        rows = await self.pool.query(
            "select relname from pg_class where relkind = 'r' and relname like %s order by relname", (f"{table}\\_p%",)
        )
        return [name for (name,) in rows]

    async def place(self, number: int) -> str:
        ((name,),) = await self.pool.query(
            "select tableoid::regclass from message_events where message = %s", (number,)
        )
        return name

    def day(self, at: float) -> str:
        return f"{datetime.fromtimestamp(at, UTC):%Y%m%d}"

    async def test_there_is_a_partition_for_today_and_seven_days_ahead(self) -> None:
        await self.timeline.maintain(NOW, 30 * DAY)
        today = datetime.fromtimestamp(NOW, UTC)
        days = [f"{today + timedelta(days=ahead):%Y%m%d}" for ahead in range(8)]
        for table in ("message_events", "message_keys"):
            self.assertEqual(await self.partitions(table), [f"{table}_p{day}" for day in days])
        for number, at in ((1, NOW), (2, NOW + 7 * DAY), (3, NOW + 8 * DAY)):
            await self.received(number, at)
        self.assertEqual(await self.place(1), f"message_events_p{self.day(NOW)}")
        self.assertEqual(await self.place(2), f"message_events_p{self.day(NOW + 7 * DAY)}")
        self.assertEqual(await self.place(3), "message_events_default")

    async def test_a_day_that_has_begun_in_the_default_partition_stays_there(self) -> None:
        await self.received(1, NOW)
        await self.timeline.maintain(NOW, 30 * DAY)
        self.assertEqual(await self.place(1), "message_events_default")
        self.assertEqual(len(await self.partitions("message_events")), 7)
        await self.timeline.maintain(NOW + 40 * DAY, 30 * DAY)
        self.assertEqual(await self.timeline.story(1), [])

    async def test_what_a_crash_left_detached_is_dropped(self) -> None:
        await self.timeline.maintain(NOW, 30 * DAY)
        name = f"message_events_p{self.day(NOW)}"
        await self.pool.query(f"alter table message_events detach partition {name}")
        await self.timeline.maintain(NOW + 31 * DAY, 30 * DAY)
        self.assertNotIn(name, await self.partitions("message_events"))

    async def test_tables_of_others_are_left_alone(self) -> None:
        await self.pool.query("create table message_events_previous (x int)")
        self.addCleanup(lambda: started(self.pool.query("drop table message_events_previous")))
        await self.timeline.maintain(NOW, DAY)
        self.assertIn("message_events_previous", await self.partitions("message_events"))
