"""IWakeups: what everybody who listens is told."""

import shutil
import tempfile
from pathlib import Path

from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.wakeups import PostgresWakeups
from mtad.interfaces import IWakeups
from mtad.testing.journal import MemoryJournal
from mtad.testing.wakeups import MemoryWakeups
from tests.contract.gate import Gate
from tests.stores import database


class Listener:
    """Writes down what it is told; `until` waits until it was told something so many times."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self._waiting: list[tuple[str, int, Deferred[None]]] = []

    def heard(self, channel: str, payload: str) -> None:
        self._note((channel, payload))

    def lost(self) -> None:
        self._note(("lost",))

    def until(self, what: str, count: int) -> "Deferred[None]":
        waiting: Deferred[None] = Deferred()
        self._waiting.append((what, count, waiting))
        self._tell()
        return waiting

    def count(self, what: str) -> int:
        return sum(entry[0] == what for entry in self.told)

    def _note(self, entry: tuple[str, ...]) -> None:
        self.told.append(entry)
        self._tell()

    def _tell(self) -> None:
        for what, count, waiting in list(self._waiting):
            if self.count(what) >= count:
                self._waiting.remove((what, count, waiting))
                reactor.callLater(0, waiting.callback, None)


class WakeupsContract:
    """Subclasses give `self.wakeups`, `notify` from elsewhere, `lose` what connects them to it."""

    timeout = 20
    wakeups: IWakeups

    async def notify(self, channel: str, payload: str) -> None:
        raise NotImplementedError

    async def lose(self) -> None:
        raise NotImplementedError

    def listening(self) -> Listener:
        listener = Listener()
        self.wakeups.listen(listener.heard, listener.lost)
        return listener

    def test_it_provides_the_port(self) -> None:
        self.assertTrue(verifyObject(IWakeups, self.wakeups))

    async def test_news_is_heard_in_order_by_all(self) -> None:
        listeners = [self.listening(), self.listening()]
        for payload in ("domain:a.example", "address:\N{SNOWMAN}@a.example", "all"):
            await self.notify("mtad_directory", payload)
        for listener in listeners:
            await listener.until("mtad_directory", 3)
            heard = [entry for entry in listener.told if entry[0] != "lost"]
            self.assertEqual(
                heard,
                [
                    ("mtad_directory", "domain:a.example"),
                    ("mtad_directory", "address:\N{SNOWMAN}@a.example"),
                    ("mtad_directory", "all"),
                ],
            )

    async def test_a_loss_is_told(self) -> None:
        listener = self.listening()
        before = listener.count("lost")
        await self.lose()
        await listener.until("lost", before + 1)


class MemoryWakeupsTest(WakeupsContract, TestCase):
    def setUp(self) -> None:
        self.wakeups = MemoryWakeups()

    async def notify(self, channel: str, payload: str) -> None:
        self.wakeups.notify(channel, payload)

    async def lose(self) -> None:
        self.wakeups.lose()

    async def test_it_remembers_what_it_told(self) -> None:
        await self.notify("mtad_directory", "all")
        self.assertEqual(self.wakeups.told, [("mtad_directory", "all")])


class PostgresWakeupsTest(WakeupsContract, TestCase):
    async def setUp(self) -> None:
        parameters = database()
        directory = Path(tempfile.mkdtemp(prefix="mtad-gate-"))
        self.addCleanup(shutil.rmtree, directory)
        self.gate = Gate(parameters, directory)
        self.gate.open()
        self.addCleanup(self.gate.shut)
        self.pool = Pool(reactor, parameters, 1)
        await self.pool.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.pool.stop()))
        self.clock = Clock()
        self.journal = MemoryJournal()
        self.wakeups = PostgresWakeups(reactor, self.gate.parameters, self.journal, clock=self.clock)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.wakeups.stop()))
        self.first = self.listening()
        self.wakeups.start()
        await self.first.until("lost", 1)

    async def notify(self, channel: str, payload: str) -> None:
        await self.pool.query("select pg_notify(%s, %s)", (channel, payload))

    async def lose(self) -> None:
        await self.gate.shut()

    async def test_it_comes_back_and_says_so_before_it_hears_again(self) -> None:
        await self.gate.shut()
        await self.first.until("lost", 2)
        await self.notify("mtad_directory", "unheard")
        self.gate.open()
        self.clock.advance(1.0)
        await self.first.until("lost", 3)
        await self.notify("mtad_directory", "heard")
        await self.first.until("mtad_directory", 1)
        self.assertEqual(self.first.told, [("lost",)] * 3 + [("mtad_directory", "heard")])

    async def test_while_the_server_is_away_it_tries_ever_more_seldom(self) -> None:
        await self.gate.shut()
        await self.first.until("lost", 2)
        for failures, pause in enumerate((0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0), start=1):
            self.clock.advance(pause - 0.1)
            self.assertEqual(len(self.journal.of("store.unavailable")), failures - 1)
            self.clock.advance(0.2)
            await self.first.until("lost", 2 + failures)
        self.assertEqual(self.journal.of("store.unavailable")[0]["dependency"], "postgres")

    async def test_a_connection_that_fell_silent_is_found(self) -> None:
        self.gate.silent = True
        self.clock.advance(20.0)
        self.clock.advance(10.0)
        await self.first.until("lost", 2)

    async def test_nothing_is_heard_after_the_stop(self) -> None:
        await self.wakeups.stop()
        self.assertEqual(self.first.told, [("lost",)] * 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_a_listener_that_fails_harms_nobody(self) -> None:
        self.wakeups.listen(lambda channel, payload: 1 / 0, lambda: None)
        last = self.listening()
        await self.notify("mtad_directory", "all")
        await last.until("mtad_directory", 1)
        self.assertIn("ZeroDivisionError", str(self.journal.of("session.surprise")[0]["failure"]))
