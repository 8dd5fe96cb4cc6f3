"""The contract of membership, on its twin and on PostgreSQL."""

from twisted.internet.defer import Deferred, gatherResults
from zope.interface.verify import verifyObject

from mtad.interfaces import INodes
from mtad.model.errors import LeaseLost, Unavailable
from mtad.model.job import Job, Lane, Row, Status
from mtad.model.process import Standing
from tests.contract.letters import DAY, LANE, NOW, letter, recipients
from tests.contract.processes import MemoryCase, PostgresCase


def started(coroutine: object) -> Deferred:
    return Deferred.fromCoroutine(coroutine)


class NodesContract:
    """What every membership keeps."""

    async def begin(self) -> None:
        self.here = await self.process()
        self.nodes, self.queue = self.here.nodes, self.here.queue

    async def joined(self, name: str = "here") -> int:
        return (await self.nodes.join(name, NOW)).owner

    async def claimed(self, owner: int) -> list[Job]:
        return list(await self.queue.claim(owner, [Lane(1, LANE)], 100, NOW + DAY))

    async def kinds(self, number: int) -> list[str]:
        return [event.kind for happening in await self.here.timeline.story(number) for event in happening.events]

    async def test_it_provides_its_port(self) -> None:
        self.assertTrue(verifyObject(INodes, self.nodes))

    async def test_nodes_that_join_have_an_owner_number_and_a_slot_of_their_own(self) -> None:
        nodes = await gatherResults([started(self.nodes.join(f"node {n}", NOW)) for n in range(5)])
        self.assertEqual(len({node.owner for node in nodes}), 5)
        self.assertEqual(sorted(node.slot for node in nodes), list(range(5)))
        self.assertEqual({node.last_id for node in nodes}, {0})
        self.assertEqual(await self.nodes.beats(), {node.owner: 0 for node in nodes})

    async def test_beats_rise_while_the_node_stands(self) -> None:
        here, beside = await self.joined(), await self.joined("beside")
        for last_id in (5, 9):
            stats = {"jobs": 3, "version": "1 \0 ☃", "paths": ["a'b"]}
            self.assertIs(await self.nodes.beat(here, last_id, stats), Standing.WORKING)
        self.assertEqual(await self.nodes.beats(), {here: 2, beside: 0})
        await self.nodes.take_over(here, 2, NOW)
        self.assertIs(await self.nodes.beat(here, 10, {}), Standing.GONE)
        self.assertEqual(await self.nodes.beats(), {beside: 0})

    async def test_a_beat_says_that_the_node_drains(self) -> None:
        here, beside = await self.joined(), await self.joined("beside")
        await self.drain(here)
        self.assertIs(await self.nodes.beat(here, 0, {}), Standing.DRAINING)
        self.assertIs(await self.nodes.beat(beside, 0, {}), Standing.WORKING)
        await self.drain(here, False)
        self.assertIs(await self.nodes.beat(here, 0, {}), Standing.WORKING)

    async def test_who_joins_where_all_of_its_name_drain_drains_too(self) -> None:
        first, second = await self.joined(), await self.joined()
        await self.drain(first)
        third = await self.joined()
        self.assertIs(await self.nodes.beat(third, 0, {}), Standing.WORKING, "two work")
        await self.drain(second)
        await self.drain(third)
        self.assertIs(await self.nodes.beat(await self.joined(), 0, {}), Standing.DRAINING)
        self.assertIs(await self.nodes.beat(await self.joined("beside"), 0, {}), Standing.WORKING)

    async def test_who_joins_to_drain_drains(self) -> None:
        again = await self.nodes.join("here", NOW, draining=True)
        self.assertIs(await self.nodes.beat(again.owner, 0, {}), Standing.DRAINING)
        beside = await self.nodes.join("beside", NOW, draining=False)
        self.assertIs(await self.nodes.beat(beside.owner, 0, {}), Standing.WORKING)

    async def test_a_slot_is_given_again_an_hour_after_its_last_beat_with_its_last_id(self) -> None:
        first = await self.nodes.join("first", NOW)
        await self.nodes.beat(first.owner, 1000, {})
        await self.nodes.beat(first.owner, 999, {})
        await self.nodes.leave(first.owner, NOW)
        second = await self.nodes.join("second", NOW)
        self.assertEqual((second.slot, second.last_id), (1, 0))
        await self.rest_an_hour()
        await self.nodes.beat(second.owner, 7, {})
        third = await self.nodes.join("third", NOW)
        self.assertEqual((third.slot, third.last_id), (0, 1000))
        self.assertEqual(len({first.owner, second.owner, third.owner}), 3)

    async def test_a_slot_given_back_with_its_last_id_needs_no_rest(self) -> None:
        first = await self.nodes.join("first", NOW)
        await self.nodes.leave(first.owner, NOW, 1000)
        second = await self.nodes.join("second", NOW)
        self.assertEqual((second.slot, second.last_id), (first.slot, 1000))
        self.assertNotEqual(second.owner, first.owner)
        await self.nodes.leave(second.owner, NOW)
        self.assertNotEqual((await self.nodes.join("third", NOW)).slot, first.slot)

    async def test_a_slot_is_not_taken_from_a_node_that_stands(self) -> None:
        await self.joined()
        await self.rest_an_hour()
        self.assertEqual((await self.nodes.join("second", NOW)).slot, 1)

    async def test_a_dead_nodes_rows_are_taken_over(self) -> None:
        dead, here = await self.joined("dead"), await self.joined()
        await self.queue.accept(letter(7, recipients=recipients(2)), dead)
        await self.queue.accept(letter(8), here)
        self.assertEqual(await self.nodes.take_over(dead, 0, NOW + 20), 2)
        self.assertEqual(await self.queue.owned(dead), [])
        self.assertEqual(await self.queue.owned(here), [Row(8, 0, 1)])
        self.assertEqual({row.due for row in (await self.queue.waiting(7)).rows}, {NOW + 20})
        (job,) = await self.claimed(here)
        self.assertEqual([target.claim for target in job.targets], [2, 2])
        (happening,) = (await self.here.timeline.story(7))[1:]
        (event,) = happening.events
        self.assertEqual((event.kind, happening.at), ("taken-over", NOW + 20))
        self.assertEqual(sorted(event.facts["recipients"]), ["user0@acme.example", "user1@acme.example"])

    async def test_who_has_beaten_since_is_not_taken_over(self) -> None:
        silent = await self.joined()
        await self.queue.accept(letter(7), silent)
        seen = (await self.nodes.beats())[silent]
        await self.nodes.beat(silent, 0, {})
        self.assertIsNone(await self.nodes.take_over(silent, seen, NOW))
        self.assertEqual(await self.queue.owned(silent), [Row(7, 0, 1)])
        self.assertIs(await self.nodes.beat(silent, 0, {}), Standing.WORKING)
        self.assertEqual(await self.nodes.take_over(silent, seen + 2, NOW), 1)

    async def test_beats_and_takeovers_at_once_leave_a_node_whole_or_dead(self) -> None:
        for turn in range(10):
            silent = await self.joined()
            await self.queue.accept(letter(7 + turn), silent)
            standing, *taken = await gatherResults([
                started(self.nodes.beat(silent, 0, {})), *(started(self.nodes.take_over(silent, 0, NOW)) for _ in "ab"),
            ])  # fmt: skip
            lives = standing is not Standing.GONE
            self.assertEqual((silent in await self.nodes.beats(), sum(filter(None, taken))), (lives, 0 if lives else 1))

    async def test_a_dead_node_does_nothing_any_more(self) -> None:
        dead = await self.joined()
        await self.nodes.take_over(dead, 0, NOW)
        await self.assertFailure(started(self.queue.accept(letter(7), dead)), LeaseLost)

    async def test_taking_over_again_finds_nothing(self) -> None:
        dead = await self.joined()
        await self.queue.accept(letter(7), dead)
        self.assertEqual(await self.nodes.take_over(dead, 0, NOW), 1)
        self.assertEqual(await self.nodes.take_over(dead, 0, NOW), 0)
        self.assertEqual(await self.nodes.take_over(dead + 1000, 0, NOW), 0)

    async def test_two_that_take_over_at_once_free_each_row_once(self) -> None:
        dead = await self.joined()
        await self.queue.accept(letter(7, recipients=recipients(30)), dead)
        counts = await gatherResults([started(self.nodes.take_over(dead, 0, NOW)) for _ in range(4)])
        self.assertEqual(sum(counts), 30)

    async def test_a_row_taken_over_for_the_third_time_is_held(self) -> None:
        owner = await self.joined("first")
        await self.queue.accept(letter(7), owner)
        for turn in (1, 2):
            await self.nodes.take_over(owner, 0, NOW + turn)
            owner = await self.joined(f"turn {turn}")
            self.assertEqual(len(await self.claimed(owner)), 1)
        self.assertEqual(await self.nodes.take_over(owner, 0, NOW + 3), 1)
        (row,) = (await self.queue.waiting(7)).rows
        self.assertEqual((row.status, row.owner), (Status.HELD, 0))
        self.assertEqual(await self.kinds(7), ["received", "taken-over", "taken-over", "held"])
        (event,) = (await self.here.timeline.story(7))[-1].events
        self.assertEqual(event.facts["reason"], "the server ended three times while handling this")
        self.assertEqual(await self.claimed(await self.joined("last")), [])

    async def test_thousands_of_rows_are_taken_over(self) -> None:
        dead = await self.joined()
        await self.queue.accept(letter(7, recipients=recipients(2100)), dead)
        self.assertEqual(await self.nodes.take_over(dead, 0, NOW), 2100)

    async def test_rows_whose_owner_is_no_node_are_freed(self) -> None:
        here = await self.joined()
        await self.queue.accept(letter(7), here)
        self.assertEqual(await self.nodes.free_orphans(NOW), 0)
        lost = await self.orphaned(8, 9)
        self.assertEqual(await self.queue.owned(lost), [Row(8, 0, 1), Row(9, 0, 1)])
        self.assertEqual(await self.nodes.free_orphans(NOW + 1), 2)
        self.assertEqual(await self.nodes.free_orphans(NOW + 1), 0)
        self.assertEqual(await self.kinds(8), ["received", "taken-over"])
        self.assertEqual(await self.queue.owned(here), [Row(7, 0, 1)])

    async def test_a_node_that_leaves_gives_its_rows_back_uncounted(self) -> None:
        here = await self.joined()
        for turn in range(4):
            if turn == 0:
                await self.queue.accept(letter(7), here)
            else:
                await self.claimed(here)
            self.assertEqual(await self.nodes.leave(here, NOW + turn), 1)
            here = await self.joined()
        (row,) = (await self.queue.waiting(7)).rows
        self.assertEqual((row.status, row.owner, row.due), (Status.QUEUED, 0, NOW + 3))
        self.assertEqual(await self.kinds(7), ["received"])
        self.assertEqual(await self.nodes.beats(), {here: 0})


class MemoryNodesTest(NodesContract, MemoryCase):
    async def setUp(self) -> None:
        super().setUp()
        await self.begin()

    async def drain(self, owner: int, on: bool = True) -> None:
        self.store.nodes[owner].draining = on

    async def orphaned(self, *numbers: int) -> int:
        owner = await self.joined("lost")
        for number in numbers:
            await self.queue.accept(letter(number), owner)
        del self.store.nodes[owner]
        return owner

    async def test_all_fail_in_an_outage(self) -> None:
        await self.outage()
        await self.assertFailure(started(self.nodes.join("here", NOW)), Unavailable)
        await self.assertFailure(started(self.nodes.beat(1, 0, {})), Unavailable)


class PostgresNodesTest(NodesContract, PostgresCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.begin()

    async def drain(self, owner: int, on: bool = True) -> None:
        await self.pool.query("update nodes set draining = %s where owner = %s", (on, owner))

    async def orphaned(self, *numbers: int) -> int:
        owner = await self.joined("lost")
        for number in numbers:
            await self.queue.accept(letter(number), owner)
        await self.pool.query("delete from nodes where owner = %s", (owner,))
        return owner

    async def test_when_all_slots_are_taken_nobody_can_join(self) -> None:
        await self.pool.query("insert into node_slots select n, 1, now(), 0 from generate_series(0, 4095) as n")
        await self.assertFailure(started(self.nodes.join("late", NOW)), Unavailable)
