"""The connections to PostgreSQL: transactions, bounds, and life after an outage."""

import shutil
import tempfile
from pathlib import Path

import psycopg2.errors
from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.model.errors import Unavailable
from tests.contract.gate import Gate
from tests.stores import database


def started(coroutine: object) -> Deferred:
    return Deferred.fromCoroutine(coroutine)


class PoolTest(TestCase):
    timeout = 20

    async def setUp(self) -> None:
        self.parameters = database()
        self.pool = await self.opened(size=2)
        await self.pool.query("create table things (name text)")

    async def opened(self, size: int = 1, **terms: object) -> Pool:
        pool = Pool(reactor, self.parameters, size, **terms)
        await pool.start()
        self.addCleanup(lambda: started(pool.stop()))
        return pool

    async def names(self) -> list[str]:
        return [name for (name,) in await self.pool.query("select name from things order by name")]

    async def test_values_are_quoted_and_percent_signs_are_not_special_without_values(self) -> None:
        self.assertEqual(await self.pool.query("select %s::text, %s::int", ("o'%s\\", 3)), [("o'%s\\", 3)])
        self.assertEqual(await self.pool.query("select 'a%'"), [("a%",)])

    async def test_a_statement_without_rows_answers_none(self) -> None:
        self.assertEqual(await self.pool.query("insert into things values ('a')"), [])
        self.assertEqual(await self.names(), ["a"])

    async def test_a_transaction_is_committed_when_the_work_returns(self) -> None:
        async def work(cursor: Cursor) -> int:
            await cursor.query("insert into things values ('a')")
            return await cursor.execute("insert into things values ('b'), ('c')")

        self.assertEqual(await self.pool.interact(work), 2)
        self.assertEqual(await self.names(), ["a", "b", "c"])

    async def test_a_transaction_is_rolled_back_when_the_work_raises(self) -> None:
        async def work(cursor: Cursor) -> None:
            await cursor.execute("insert into things values ('a')")
            raise KeyError("x")

        for _ in range(5):
            with self.assertRaises(KeyError):
                await self.pool.interact(work)
        self.assertEqual(await self.names(), [])

    async def test_an_error_in_a_statement_is_the_callers_and_harms_no_connection(self) -> None:
        for _ in range(5):
            with self.assertRaises(psycopg2.errors.UndefinedTable):
                await self.pool.query("select * from nothing")
            with self.assertRaises(psycopg2.errors.UndefinedTable):
                await self.pool.interact(lambda cursor: cursor.query("select * from nothing"))
        self.assertEqual(await self.pool.query("select 1"), [(1,)])

    async def test_sessions_are_named_and_bounded(self) -> None:
        pool = await self.opened(name="mtad test", statement_timeout_seconds=12)
        settings = "current_setting('{}')"
        names = ("application_name", "statement_timeout", "idle_in_transaction_session_timeout", "synchronous_commit")
        rows = await pool.query("select " + ", ".join(map(settings.format, names)))
        self.assertEqual(rows, [("mtad test", "12s", "12s", "on")])

    async def test_a_statement_that_takes_too_long_is_unavailable(self) -> None:
        pool = await self.opened(statement_timeout_seconds=0.05)
        with self.assertRaisesRegex(Unavailable, "postgres: canceling statement due to statement timeout"):
            await pool.query("select pg_sleep(10)")
        self.assertEqual(await pool.query("select 1"), [(1,)])

    async def test_no_more_connections_are_open_than_allowed_and_callers_take_turns(self) -> None:
        ask = "select pg_backend_pid() from pg_sleep(0.01)"
        answers = await gatherResults([started(self.pool.query(ask)) for _ in range(8)])
        self.assertEqual(len({pid for ((pid,),) in answers}), 2)

    async def test_the_wait_for_a_free_connection_is_bounded(self) -> None:
        clock = Clock()
        pool = Pool(reactor, self.parameters, 1, clock=clock, wait_timeout_seconds=10.0)
        self.addCleanup(lambda: started(pool.stop()))
        await pool.start()
        held: Deferred[None] = Deferred()
        first = started(pool.interact(lambda cursor: held))
        second = started(pool.query("select 1"))
        clock.advance(9.9)
        self.assertNoResult(second)
        clock.advance(0.2)
        failure = self.failureResultOf(second, Unavailable)
        self.assertIn("none of 1 connections became free within 10 s", str(failure.value))
        held.callback(None)
        await first
        self.assertEqual(await pool.query("select 2"), [(2,)])

    async def test_a_cancelled_statement_gives_its_place_to_the_next(self) -> None:
        pool = await self.opened(size=1)
        slow = started(pool.query("select pg_sleep(10)"))
        waiting = started(pool.query("select 1"))
        slow.cancel()
        self.failureResultOf(slow, CancelledError)
        self.assertEqual(await waiting, [(1,)])

    async def test_a_cancelled_transaction_is_rolled_back(self) -> None:
        begun: Deferred[None] = Deferred()

        async def work(cursor: Cursor) -> None:
            await cursor.execute("insert into things values ('lost')")
            reactor.callLater(0, begun.callback, None)
            await Deferred()

        interaction = started(self.pool.interact(work))
        await begun
        interaction.cancel()
        with self.assertRaises(CancelledError):
            await interaction
        self.assertEqual(await self.names(), [])

    async def test_work_that_goes_on_after_its_connection_ended_is_told_so(self) -> None:
        async def work(cursor: Cursor) -> None:
            with self.assertRaises(Unavailable):
                await cursor.query("select pg_terminate_backend(pg_backend_pid())")
            await cursor.query("select 1")

        with self.assertRaises(Unavailable):
            await self.pool.interact(work)
        self.assertEqual(await self.pool.query("select 1"), [(1,)])

    async def test_a_stopped_pool_is_unavailable(self) -> None:
        await self.pool.stop()
        with self.assertRaises(Unavailable):
            await self.pool.query("select 1")


class OutageTest(TestCase):
    timeout = 20

    async def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="mtad-gate-"))
        self.addCleanup(shutil.rmtree, directory)
        self.gate = Gate(database(), directory)
        self.gate.open()
        self.addCleanup(lambda: started(self.gate.shut()))
        self.clock = Clock()
        self.pool = Pool(reactor, self.gate.parameters, 2, clock=self.clock)
        self.addCleanup(lambda: started(self.pool.stop()))
        await self.pool.start()

    async def refused(self) -> str:
        with self.assertRaises(Unavailable) as caught:
            await self.pool.query("select 1")
        self.assertEqual(caught.exception.dependency, "postgres")
        self.assertNotIn("\n", caught.exception.reason)
        return caught.exception.reason

    async def test_calls_fail_while_the_server_is_away_and_work_when_it_is_back(self) -> None:
        under_way = started(self.pool.query("select pg_sleep(10)"))
        await self.gate.shut()
        with self.assertRaises(Unavailable):
            await under_way
        self.assertIn("No such file", await self.refused())
        self.gate.open()
        self.clock.advance(1.1)
        self.assertEqual(await self.pool.query("select 1"), [(1,)])

    async def test_an_idle_connection_that_the_server_ended_is_replaced_quietly(self) -> None:
        ((pid,),) = await self.pool.query("select pg_backend_pid()")
        ended: Deferred[None] = Deferred()
        self.gate.when_one_ends(ended)
        other = Pool(reactor, self.gate.parameters, 1)
        self.addCleanup(lambda: started(other.stop()))
        await other.start()
        await other.query("select pg_terminate_backend(%s)", (pid,))
        await ended
        self.assertNotEqual(await self.pool.query("select pg_backend_pid()"), [(pid,)])

    async def test_after_a_failed_connect_there_is_a_pause(self) -> None:
        await self.gate.shut()
        await self.refused()  # by the connection there was
        reason = await self.refused()
        self.gate.open()
        made = self.gate.connections
        self.assertEqual(await self.refused(), reason)
        self.assertEqual(self.gate.connections, made)

    async def test_a_caller_may_have_less_patience_and_the_next_gets_a_fresh_connection(self) -> None:
        pool = Pool(reactor, self.gate.parameters, 1, clock=self.clock)
        self.addCleanup(lambda: started(pool.stop()))
        await pool.start()
        self.gate.silent = True
        asks = (
            lambda: pool.query("select 1", timeout_seconds=3),
            lambda: pool.interact(lambda cursor: cursor.query("select 1"), timeout_seconds=3),
        )
        for ask in asks:
            asking = started(ask())
            self.clock.advance(2.9)
            self.assertNoResult(asking)
            self.clock.advance(0.1)
            self.failureResultOf(asking, Unavailable)
            self.gate.silent = False
            made = self.gate.connections
            self.assertEqual(await pool.query("select 1"), [(1,)])
            self.assertEqual(self.gate.connections, made + 1)
            self.gate.silent = True
        patient = started(pool.query("select 1"))
        self.clock.advance(3)
        self.assertNoResult(patient)
        self.clock.advance(32)
        self.failureResultOf(patient, Unavailable)

    async def test_a_server_that_falls_silent_is_given_up(self) -> None:
        self.gate.silent = True
        asked = started(self.pool.query("select 1"))
        self.clock.advance(34.9)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        self.assertIn("no answer within 35 s", str(self.failureResultOf(asked, Unavailable).value))
        self.gate.silent = False
        self.assertEqual(await self.pool.query("select 1"), [(1,)])

    async def test_connecting_is_given_up_too(self) -> None:
        await self.gate.shut()
        await self.refused()
        self.gate.open()
        self.gate.silent = True
        self.clock.advance(1.1)
        asked = started(self.pool.query("select 1"))
        self.clock.advance(5.1)
        self.assertIn("no answer within 5 s", str(self.failureResultOf(asked, Unavailable).value))

    async def test_the_check_says_why_within_seconds(self) -> None:
        self.gate.silent = True
        checked = started(self.pool.check())
        self.clock.advance(5.1)
        self.assertIn("no answer within 5 s", str(self.failureResultOf(checked, Unavailable).value))
