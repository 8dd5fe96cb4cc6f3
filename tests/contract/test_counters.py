"""ICounters: counts that end, from Redis and from their twin."""

import secrets
from random import Random

from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mtad.adapters.counters import PREFIX, RedisCounters
from mtad.adapters.network import SocketNetwork
from mtad.adapters.redis import Redis, RedisServer
from mtad.interfaces import ICounters
from mtad.model.errors import Unavailable
from mtad.testing.counters import MemoryCounters
from tests.stores import redis_address

LONG = 60.0


class CountersContract:
    """Subclasses give `self.counters`, `wait`, which lets that many seconds pass, and `lose`, which takes it away."""

    timeout = 20
    counters: ICounters
    keys: list[str]

    async def wait(self, seconds: float) -> None:
        raise NotImplementedError

    async def lose(self) -> None:
        raise NotImplementedError

    def key(self) -> str:
        """Return a key of this test's own."""
        self.keys.append(f"test:{secrets.token_hex(8)}")
        return self.keys[-1]

    def test_it_provides_the_port(self) -> None:
        self.assertTrue(verifyObject(ICounters, self.counters))

    async def test_additions_are_added_and_told(self) -> None:
        key, other = self.key(), self.key()
        self.assertEqual(await self.counters.add(key, 1, LONG), 1)
        self.assertEqual(await self.counters.add(key, 41, LONG), 42)
        self.assertEqual(await self.counters.add(other, 2, LONG), 2)
        self.assertEqual(list(await self.counters.counts([other, self.key(), key, key])), [2, 0, 42, 42])
        self.assertEqual(list(await self.counters.counts([])), [])

    async def test_additions_at_once_are_all_counted(self) -> None:
        key = self.key()
        adding = [Deferred.fromCoroutine(self.counters.add(key, 1, LONG)) for _ in range(50)]
        self.assertEqual(sorted(await gatherResults(adding)), list(range(1, 51)))

    async def test_a_count_ends_its_window_after_the_first_addition(self) -> None:
        key = self.key()
        await self.counters.add(key, 1, 30.0)
        await self.wait(20.0)
        self.assertEqual(await self.counters.add(key, 1, LONG), 2)
        await self.wait(15.0)
        self.assertEqual(list(await self.counters.counts([key])), [0])
        self.assertEqual(await self.counters.add(key, 1, LONG), 1)

    async def test_what_is_forgotten_is_nothing(self) -> None:
        key = self.key()
        await self.counters.add(key, 5, 20.0)
        await self.counters.forget(key)
        await self.counters.forget(key)
        self.assertEqual(list(await self.counters.counts([key])), [0])
        self.assertEqual(await self.counters.add(key, 1, LONG), 1)
        await self.wait(25.0)
        self.assertEqual(list(await self.counters.counts([key])), [1])

    async def test_without_its_store_it_is_unavailable(self) -> None:
        await self.lose()
        for call in (self.counters.add("x", 1, LONG), self.counters.counts(["x"]), self.counters.forget("x")):
            with self.assertRaises(Unavailable):
                await call


class MemoryCountersTest(CountersContract, TestCase):
    def setUp(self) -> None:
        self.keys: list[str] = []
        self.clock = Clock()
        self.counters = MemoryCounters(self.clock)

    async def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def lose(self) -> None:
        self.counters.reachable = False


class RedisCountersTest(CountersContract, TestCase):
    def setUp(self) -> Deferred[None]:
        self.keys: list[str] = []
        self.redis = Redis(
            server=RedisServer(redis_address()), network=SocketNetwork(reactor), clock=reactor, random=Random(1)
        )
        self.counters = RedisCounters(self.redis)
        self.redis.startService()
        self.addCleanup(self.redis.stopService)
        return Deferred.fromCoroutine(self.redis.settled())

    async def wait(self, seconds: float) -> None:
        """Bring the end of every count of this test nearer by so much."""
        for key in self.keys:
            left = await self.redis.command("PTTL", PREFIX + key)
            if left >= 0:
                await self.redis.command("PEXPIRE", PREFIX + key, left - round(seconds * 1000))

    async def lose(self) -> None:
        await self.redis.stopService()

    async def test_keys_are_told_apart_from_those_of_others_and_always_end(self) -> None:
        key = self.key()
        await self.redis.command("SET", key, 7, "EX", 10)
        await self.redis.command("SET", PREFIX + key, 7)
        self.assertEqual(await self.counters.add(key, 1, LONG), 8)
        self.assertLessEqual(await self.redis.command("PTTL", PREFIX + key), LONG * 1000)
        self.assertGreater(await self.redis.command("PTTL", PREFIX + key), 0)
