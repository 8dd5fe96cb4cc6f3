"""Nodes as people see and steer them, on PostgreSQL; and the record of what they did."""

from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred

from mtad.adapters.postgres import audit, fleet
from mtad.adapters.postgres.wakeups import PostgresWakeups
from mtad.model.control import CHANNEL
from mtad.model.process import Standing
from mtad.testing.journal import MemoryJournal
from tests.contract.letters import NOW, letter, recipients
from tests.contract.processes import PostgresCase


class FleetTest(PostgresCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.here = await self.process()
        self.heard: list[str] = []

    async def joined(self, name: str) -> int:
        return (await self.here.nodes.join(name, NOW)).owner

    async def listen(self) -> "Deferred[None]":
        """Listen to what nodes are told; fires with the first of it."""
        wakeups = PostgresWakeups(reactor, self.parameters, MemoryJournal())
        self.addCleanup(lambda: Deferred.fromCoroutine(wakeups.stop()))
        listening: Deferred[None] = Deferred()
        heard: Deferred[None] = Deferred()

        def hear(channel: str, payload: str) -> None:
            self.assertEqual(channel, CHANNEL)
            self.heard.append(payload)
            if not heard.called:
                heard.callback(None)

        wakeups.listen(hear, lambda: None if listening.called else listening.callback(None))
        wakeups.start()
        await listening
        return heard

    async def test_nodes_are_seen_by_name_with_their_rows_and_what_they_say(self) -> None:
        second, first = await self.joined("mx2"), await self.joined("mx1")
        await self.here.queue.accept(letter(7, recipients=recipients(3)), second)
        stats = {"process": 2, "sessions": 5, "draining": True, "refused": "00ff some reason: a b"}
        await self.here.nodes.beat(second, 0, stats)
        one, two = await fleet.nodes(self.pool)
        self.assertEqual((one.owner, one.name, one.rows, one.process, one.sessions), (first, "mx1", 0, None, None))
        self.assertEqual((one.draining, one.drains, one.started_at), (False, False, NOW))
        self.assertEqual((two.owner, two.rows, two.process, two.sessions, two.drains), (second, 3, 2, 5, True))
        self.assertEqual([two.refuses(token) for token in ("00ff", "00", "")], ["some reason: a b", None, None])
        self.assertIsNone(one.refuses("00ff"))

    async def test_nodes_drain_and_are_told(self) -> None:
        one, two = await self.joined("mx1"), await self.joined("mx2")
        heard = await self.listen()
        self.assertEqual(await fleet.drain(self.pool, [one, 99_999], True), 1)
        self.assertEqual(await fleet.drain(self.pool, [one], True), 0)
        await heard
        self.assertEqual(self.heard[0], "drain")
        self.assertIs(await self.here.nodes.beat(one, 0, {}), Standing.DRAINING)
        self.assertIs(await self.here.nodes.beat(two, 0, {}), Standing.WORKING)
        self.assertEqual([each.draining for each in await fleet.nodes(self.pool)], [True, False])
        self.assertEqual(await fleet.drain(self.pool, [one, two], False), 1)
        self.assertIs(await self.here.nodes.beat(one, 0, {}), Standing.WORKING)

    async def test_a_reload_is_told_by_name(self) -> None:
        heard = await self.listen()
        await fleet.want_reload(self.pool, "0123456789abcdef", ["mx1.test"])
        await heard
        self.assertEqual(self.heard, ["reload 0123456789abcdef mx1.test"])

    async def test_what_people_do_is_on_record(self) -> None:
        await audit.note(self.pool, who="ann", command="mtactl drain", what="mx1 'x'", count=2, now=NOW)
        rows = await self.pool.query("select extract(epoch from at)::float8, who, command, what, count from audit")
        self.assertEqual(rows, [(NOW, "ann", "mtactl drain", "mx1 'x'", 2)])
