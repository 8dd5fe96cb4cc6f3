"""Nodes as people see and steer them, on PostgreSQL; and the record of what they did."""

from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred

from mtad.adapters.postgres import fleet
from mtad.adapters.postgres.audit import deeds
from mtad.adapters.postgres.pool import Cursor
from mtad.adapters.postgres.session import StatementError
from mtad.adapters.postgres.wakeups import PostgresWakeups
from mtad.ctl.person import who
from mtad.ctl.record import on_record, trail
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
        self.assertEqual(await self.drain([one, 99_999], True), 1)
        self.assertEqual(await self.drain([one], True), 0)
        await heard
        self.assertEqual(self.heard[0], "drain")
        self.assertIs(await self.here.nodes.beat(one, 0, {}), Standing.DRAINING)
        self.assertIs(await self.here.nodes.beat(two, 0, {}), Standing.WORKING)
        self.assertEqual([each.draining for each in await fleet.nodes(self.pool)], [True, False])
        self.assertEqual(await self.drain([one, two], False), 1)
        self.assertIs(await self.here.nodes.beat(one, 0, {}), Standing.WORKING)

    async def test_a_reload_is_told_by_name(self) -> None:
        heard = await self.listen()
        await fleet.want_reload(self.pool, "0123456789abcdef", ["mx1.test"])
        await heard
        self.assertEqual(self.heard, ["reload 0123456789abcdef mx1.test"])

    async def test_what_is_not_done_is_not_on_record(self) -> None:
        owner = await self.joined("mx1")

        async def failing(cursor: Cursor) -> int:
            await fleet.drain(cursor, [owner], True)
            await cursor.query("select 1/0")
            return 1

        deed = trail("drain", "mx1")
        with self.assertRaises(StatementError):
            await on_record(self.pool, deed, failing, int)
        self.assertEqual([each.draining for each in await fleet.nodes(self.pool)], [False])
        self.assertEqual(await deeds(self.pool, 0, 10), [])
        self.assertEqual(await on_record(self.pool, trail("drain", "mx1"), self.nothing, int), 0)
        self.assertEqual(await deeds(self.pool, 0, 10), [], "nothing is no deed")
        await on_record(self.pool, deed, lambda cursor: fleet.drain(cursor, [owner], True), int)
        (done,) = await deeds(self.pool, 0, 10)
        self.assertEqual((done.who, done.command, done.what, done.count), (who(), "mtactl drain", "mx1", 1))

    async def nothing(self, cursor: Cursor) -> int:
        return 0

    async def drain(self, owners: list[int], on: bool) -> int:
        return await self.pool.interact(lambda cursor: fleet.drain(cursor, owners, on))
