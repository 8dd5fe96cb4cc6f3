"""The writer in troubles only a real server makes: each acceptance and settlement is done once, or said not to be."""

from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred, DeferredList, gatherResults

from mtad.adapters.postgres.pool import Cursor
from mtad.adapters.postgres.queue import PostgresQueue
from mtad.model.errors import Unacceptable, Unavailable
from mtad.model.job import Row
from tests.contract.letters import NOW, again, gone, letter, settlement
from tests.contract.processes import PostgresCase
from tests.stores import database

OUR_SESSIONS = "from pg_stat_activity where application_name like 'mtad writer %' and datname = current_database()"


def started(coroutine: object) -> Deferred:
    return Deferred.fromCoroutine(coroutine)


class RollBack(Exception):
    """Ends a transaction without a trace."""


class WriterCase(PostgresCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.here = await self.process()
        self.queue: PostgresQueue = self.here.queue
        self.owner = (await self.here.nodes.join("here", NOW)).owner

    async def asked(self, question: str) -> object:
        return (await self.pool.query(question))[0][0]

    async def until(self, question: str) -> None:
        """Ask until the answer is yes: for what only the server knows."""
        while not await self.asked(question):
            pass

    async def turn(self) -> None:
        """Let the reactor hand over what it has."""
        for _ in range(5):
            turned: Deferred[None] = Deferred()
            reactor.callLater(0, turned.callback, None)
            await turned

    async def stall(self, number: int) -> "Deferred[None]":
        """Let the acceptance of that message wait at the server until the Deferred is fired."""
        return await self.hold(
            "insert into messages (id, organisation, direction, recipients, content_id, copies, size, received_at)"
            f" values ({number}, 1, 'inbound', 1, 1, 1, 1, now())"
        )

    async def hold(self, statement: str) -> "Deferred[None]":
        """Keep a statement's transaction open until the Deferred is fired, and then undo it."""
        holding: Deferred[None] = Deferred()
        go_on: Deferred[None] = Deferred()

        async def work(cursor: Cursor) -> None:
            await cursor.query(statement)
            holding.callback(None)
            await go_on
            raise RollBack

        self.addCleanup(self.assertFailure, started(self.pool.interact(work)), RollBack)
        await holding
        return go_on


class WriterTest(WriterCase):
    async def test_killed_connections_lose_nothing_and_repeat_nothing(self) -> None:
        count = 300
        numbers = iter(range(1, count + 1))
        done: list[int] = []

        async def loop() -> None:
            for number in numbers:
                await self.queue.accept(letter(number), self.owner)
                await self.queue.settle([settlement(number, again())], self.owner, NOW + 1)
                done.append(number)

        loops = [started(loop()) for _ in range(20)]
        for killed_at in (1, 50, 100, 150, 200):
            while len(done) < killed_at:
                await self.pool.query("select 1")
            await self.pool.query(f"select pg_terminate_backend(pid) {OUR_SESSIONS}")
        await gatherResults(loops)
        counts = await self.pool.query(
            "select (select count(*) from messages), (select count(*) from message_queue where attempts = 1),"
            " (select count(*) from message_events), (select count(*) from message_keys),"
            " (select count(*) from message_content)"
        )
        self.assertEqual(counts, [(count, count, 2 * count, 2 * count, count)])

    async def test_a_session_that_broke_is_ended_before_its_batch_goes_again(self) -> None:
        go_on = await self.stall(7)
        accepting = started(self.queue.accept(letter(7), self.owner))
        await self.until(f"select count(*) = 1 {OUR_SESSIONS} and wait_event_type = 'Lock'")
        stuck = await self.asked(f"select pid {OUR_SESSIONS} and wait_event_type = 'Lock'")
        for pipe in list(self.gate.pipes):
            pipe.transport.abortConnection()
        await self.until(f"select count(*) = 1 {OUR_SESSIONS} and wait_event_type = 'Lock' and pid <> {stuck}")
        self.assertEqual(await self.asked(f"select count(*) {OUR_SESSIONS} and pid = {stuck}"), 0)
        self.assertNoResult(accepting)
        go_on.callback(None)
        await accepting
        self.assertEqual(await self.asked("select count(*) from message_events"), 1)

    async def test_what_was_given_up_under_way_is_removed_when_it_was_done_after_all(self) -> None:
        go_on = await self.stall(7)
        accepting = started(self.queue.accept(letter(7), self.owner))
        await self.until(f"select count(*) = 1 {OUR_SESSIONS} and wait_event_type = 'Lock'")
        self.wait_in_vain()
        self.failureResultOf(accepting, Unavailable)
        go_on.callback(None)
        await self.until("select exists (select from messages) or exists (select from message_events)")
        await self.until("select not exists (select from messages) and not exists (select from message_events)")
        await self.queue.accept(letter(8), self.owner)
        self.assertEqual(await self.queue.owned(self.owner), [Row(8, 0, 1)])

    async def test_nothing_is_written_before_the_recovery_but_questions_are_answered(self) -> None:
        self.lose_all_answers()
        accepting = started(self.queue.accept(letter(7), self.owner))
        await self.gate.lost
        self.wait_in_vain()
        self.failureResultOf(accepting, Unavailable)
        go_on = await self.hold("select 1 from messages where id = 7 for update")
        await self.restore()
        await self.until(f"select count(*) = 1 {OUR_SESSIONS} and wait_event_type = 'Lock'")
        later = started(self.queue.accept(letter(8), self.owner))
        while not self.writer.reachable:
            await self.turn()
        self.assertEqual(await self.queue.owned(self.owner), [Row(7, 0, 1)])
        self.assertNoResult(later)
        go_on.callback(None)
        await later
        self.assertEqual(await self.queue.owned(self.owner), [Row(8, 0, 1)])

    async def test_what_the_server_refuses_for_its_data_is_found_among_many(self) -> None:
        # A moment of the year 294277, just beyond PostgreSQL's last: it fits the wire, and no column.
        never = 9_224_318_100_000.0
        culprits = {4, 117}
        letters = [letter(n, expires_at=never) if n in culprits else letter(n) for n in range(1, 200)]
        accepts = [started(self.queue.accept(each, self.owner)) for each in letters]
        answers = await DeferredList(accepts, consumeErrors=True)
        refused = {n for n, (accepted, _) in enumerate(answers, start=1) if not accepted}
        self.assertEqual(refused, culprits)
        answers[3][1].trap(Unacceptable)
        self.assertEqual(len(await self.queue.owned(self.owner)), 197)

    async def test_a_settlement_the_server_refuses_for_its_data_is_found_among_many_and_ends(self) -> None:
        never = 9_224_318_100_000.0
        for number in range(1, 41):
            await self.queue.accept(letter(number), self.owner)
        settlements = [settlement(number, again(due=never if number == 17 else NOW + 5)) for number in range(1, 41)]
        settles = [started(self.queue.settle([each], self.owner, NOW + 1)) for each in settlements]
        answers = await DeferredList(settles, consumeErrors=True)
        self.assertEqual([n for n, (settled, _) in enumerate(answers, start=1) if not settled], [17])
        answers[16][1].trap(Unacceptable)
        self.assertEqual(await self.queue.owned(self.owner), [Row(17, 0, 1)])
        await self.queue.settle([settlement(17, again(due=NOW + 5))], self.owner, NOW + 1)
        self.assertEqual(await self.queue.owned(self.owner), [])

    async def test_a_settlement_that_has_no_place_in_the_tables_is_not_even_asked_for(self) -> None:
        await self.queue.accept(letter(7), self.owner)
        for bad in (settlement(7, again(due=float("nan"))), settlement(7, gone(claim=1 << 31)), settlement(1 << 63)):
            await self.assertFailure(started(self.queue.settle([bad], self.owner, NOW + 1)), Unacceptable)
        self.assertEqual(await self.queue.owned(self.owner), [Row(7, 0, 1)])

    async def test_a_server_that_says_nothing_is_left(self) -> None:
        writer, queue = self.writing(clock=self.clock, statement_timeout_seconds=10)
        await writer.start()
        self.gate.silent = True
        settling = started(queue.settle([settlement(7, gone())], self.owner, NOW))
        asking = started(queue.owned(self.owner))
        await self.turn()
        self.clock.advance(14.9)
        self.assertNoResult(asking)
        self.clock.advance(0.1)
        self.failureResultOf(asking, Unavailable)
        self.assertNoResult(settling)
        self.gate.silent = False
        self.clock.advance(1)
        await settling

    async def test_a_writer_starts_before_its_server(self) -> None:
        await self.gate.shut()
        writer, queue = self.writing()
        await self.assertFailure(started(writer.start()), Unavailable)
        await self.assertFailure(started(writer.check()), Unavailable)
        accepting = started(queue.accept(letter(7), self.owner))
        self.gate.open()
        await accepting
        await writer.check()

    async def test_stopping_writes_what_waits(self) -> None:
        accepts = [started(self.queue.accept(letter(n), self.owner)) for n in range(1, 500)]
        await self.writer.stop()
        await gatherResults(accepts)
        await self.assertFailure(started(self.queue.accept(letter(500), self.owner)), Unavailable)
        await self.until(f"select count(*) = 0 {OUR_SESSIONS}")

    async def test_stopping_fails_what_cannot_be_written(self) -> None:
        writer, queue = self.writing(clock=self.clock)
        await writer.start()
        await self.gate.shut()
        settling = started(queue.settle([settlement(7, gone())], self.owner, NOW))
        stopping = started(writer.stop(grace_seconds=5))
        await self.turn()
        self.assertNoResult(settling)
        self.clock.advance(5)
        await stopping
        self.failureResultOf(settling, Unavailable)


class ReadOnlyTest(WriterCase):
    """In a database of its own, which it spoils."""

    made = staticmethod(database)

    async def test_a_database_that_may_only_be_read_is_left_and_tried_again(self) -> None:
        name = self.parameters["dbname"]
        await self.pool.query(f"alter database {name} set default_transaction_read_only = on")
        try:
            await self.pool.query(f"select pg_terminate_backend(pid, 1000) {OUR_SESSIONS}")
            accepting = started(self.queue.accept(letter(7), self.owner))
            sessions = self.gate.connections
            while self.gate.connections < sessions + 4:
                await self.pool.query("select 1")
            self.assertNoResult(accepting)
        finally:
            await self.pool.query(f"alter database {name} reset default_transaction_read_only")
        await accepting
