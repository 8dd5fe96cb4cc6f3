"""Large acceptances in troubles only a real server and a real disk make (`mtad.adapters.postgres.large`)."""

from collections.abc import Callable, Iterator
from random import Random

from twisted.internet.defer import Deferred, gatherResults

from mtad.adapters.postgres.large import LINE_SECONDS
from mtad.model.content import BLOCK_OCTETS, Content, blocks
from mtad.model.errors import Unacceptable, Unavailable
from mtad.model.job import Row
from tests.contract.letters import NOW, gone, letter, settlement
from tests.contract.test_writer import OUR_SESSIONS, WriterCase, started

OCTETS = 3_000_000


class Watched:
    """A content that does something the first time its block `n` is read."""

    def __init__(self, content: Content, n: int, act: Callable[[], object]) -> None:
        self._content = content
        self._n = n
        self._act: Callable[[], object] | None = act

    def __len__(self) -> int:
        return len(self._content)

    def blocks(self, octets: int = BLOCK_OCTETS) -> Iterator[bytes]:
        for n, block in enumerate(blocks(self._content, octets)):
            if n == self._n and self._act is not None:
                act, self._act = self._act, None
                act()
            yield block


class LargeTest(WriterCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.octets = Random(7).randbytes(OCTETS)

    def content(self, n: int, act: Callable[[], object]) -> Content:
        return Watched(self.octets, n, act)

    async def assert_there_once(self, number: int) -> None:
        self.assertEqual(await self.queue.owned(self.owner), [Row(number, 0, 1)])
        self.assertEqual(b"".join(blocks(await self.queue.content(number))), self.octets)
        self.assertEqual(await self.asked("select count(*) from message_events"), 1)

    async def assert_nothing_is_there(self) -> None:
        await self.until("select not exists (select from message_content) and not exists (select from messages)")

    def break_connections(self) -> None:
        for pipe in list(self.gate.pipes):
            pipe.transport.abortConnection()

    async def test_a_connection_that_breaks_in_the_middle(self) -> None:
        await self.queue.accept(letter(7, self.content(5, self.break_connections)), self.owner)
        await self.assert_there_once(7)

    async def test_a_backend_that_is_killed_in_the_middle(self) -> None:
        killed: list[Deferred[object]] = []

        def kill() -> None:
            killed.append(started(self.pool.query(f"select pg_terminate_backend(pid) {OUR_SESSIONS}")))

        await self.queue.accept(letter(7, self.content(5, kill)), self.owner)
        await gatherResults(killed)
        await self.assert_there_once(7)

    async def test_an_answer_that_is_lost(self) -> None:
        self.lose_answer()
        await self.queue.accept(letter(7, self.content(99, int)), self.owner)
        self.assertFalse(self.losing())
        await self.assert_there_once(7)

    async def test_content_that_cannot_be_read_leaves_nothing(self) -> None:
        def fail() -> None:
            raise Unavailable("disk", "the spool cannot be read")

        error = await self.assertFailure(
            started(self.queue.accept(letter(7, self.content(5, fail)), self.owner)), Unavailable
        )
        self.assertEqual(error.dependency, "disk")
        await self.assert_nothing_is_there()
        await self.queue.accept(letter(7, self.content(99, int)), self.owner)
        await self.assert_there_once(7)

    async def test_what_the_server_refuses_for_its_data_leaves_nothing(self) -> None:
        # A moment just beyond PostgreSQL's last: it fits the wire, and no column.
        refused = started(
            self.queue.accept(letter(7, self.content(99, int), expires_at=9_224_318_100_000.0), self.owner)
        )
        await self.assertFailure(refused, Unacceptable)
        await self.assert_nothing_is_there()

    async def test_a_chunk_the_server_refuses_is_the_whole_messages_end(self) -> None:
        await self.pool.query("alter table message_content add constraint few check (n < 3)")
        try:
            refused = started(self.queue.accept(letter(7, self.content(99, int)), self.owner))
            await self.assertFailure(refused, Unacceptable)
        finally:
            await self.pool.query("alter table message_content drop constraint few")
        await self.assert_nothing_is_there()
        await self.queue.accept(letter(7, self.content(99, int)), self.owner)
        await self.assert_there_once(7)

    async def test_small_ones_pass_by(self) -> None:
        go_on = await self.stall(7)
        large = started(self.queue.accept(letter(7, self.content(99, int)), self.owner))
        await self.until(f"select count(*) = 1 {OUR_SESSIONS} and wait_event_type = 'Lock'")
        other = started(self.queue.accept(letter(8, self.content(99, int)), self.owner))
        await gatherResults([started(self.queue.accept(letter(n), self.owner)) for n in range(10, 30)])
        self.assertNoResult(large)
        self.assertNoResult(other)
        go_on.callback(None)
        await gatherResults([large, other])
        self.assertEqual(len(await self.queue.owned(self.owner)), 22)

    async def test_each_has_its_time_from_its_turn_on(self) -> None:
        go_on = await self.stall(7)
        first = started(self.queue.accept(letter(7, self.content(99, int)), self.owner))
        await self.until(f"select count(*) = 1 {OUR_SESSIONS} and wait_event_type = 'Lock'")
        second = started(self.queue.accept(letter(8, self.content(99, int)), self.owner))
        self.clock.advance(30 + OCTETS / 2**20 - 0.5)
        self.assertNoResult(first)
        self.clock.advance(1)
        self.assertIn("no answer", str(self.failureResultOf(first, Unavailable).value))
        self.clock.advance(LINE_SECONDS - 60)
        self.assertNoResult(second)
        self.clock.advance(60)
        self.assertIn("no turn", str(self.failureResultOf(second, Unavailable).value))
        go_on.callback(None)
        await self.assert_nothing_is_there()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_one_given_up_on_its_way_goes_no_further(self) -> None:
        read: list[int] = []
        content = Watched(self.content(3, lambda: self.clock.advance(60)), 9, lambda: read.append(9))
        await self.assertFailure(started(self.queue.accept(letter(7, content), self.owner)), Unavailable)
        await self.assert_nothing_is_there()
        self.assertEqual(read, [])
        await self.queue.accept(letter(8), self.owner)
        await self.queue.settle([settlement(8, gone())], self.owner, NOW)
