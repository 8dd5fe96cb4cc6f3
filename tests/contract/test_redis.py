"""IDependency, and the connection to Redis: real servers where they can be had, a scripted one for their moods."""

import secrets
from random import Random
from typing import Any

from twisted.internet import reactor as real_reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from mtad.adapters.network import SocketNetwork
from mtad.adapters.redis import CONNECT_SECONDS, LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS, Redis, RedisServer
from mtad.interfaces import IDependency
from mtad.model.errors import InvalidInput, Unavailable
from mtad.testing.dependency import MemoryDependency
from mtad.testing.network import MemoryNetwork
from tests.stores import redis_address


class Steady(Random):
    """Chance without chance: pauses are as long as they are on average."""

    def random(self) -> float:
        return 0.5


class DependencyContract:
    """Subclasses give a dependency that is well and one that is away."""

    timeout = 10

    async def test_provides_the_port(self) -> None:
        verifyObject(IDependency, await self.well())

    async def test_a_dependency_that_is_well_returns(self) -> None:
        self.assertIsNone(await (await self.well()).check())

    async def test_one_that_is_away_is_unavailable_and_says_why(self) -> None:
        try:
            await (await self.away()).check()
        except Unavailable as trouble:
            self.assertTrue(trouble.dependency)
            self.assertTrue(trouble.reason)
        else:
            self.fail("expected Unavailable")


class MemoryDependencyTest(DependencyContract, TestCase):
    async def well(self) -> IDependency:
        return MemoryDependency()

    async def away(self) -> IDependency:
        dependency = MemoryDependency()
        dependency.wrong = "connection refused"
        return dependency


class RealRedisTest(DependencyContract, TestCase):
    async def started(self, address: str) -> Redis:
        redis = Redis(
            server=RedisServer(address), network=SocketNetwork(real_reactor), clock=real_reactor, random=Random(1)
        )
        redis.startService()
        self.addCleanup(redis.stopService)
        return redis

    async def well(self) -> Redis:
        redis = await self.started(redis_address())
        await redis.settled()
        return redis

    async def away(self) -> Redis:
        redis = await self.started("/nowhere/redis.sock")
        await redis.settled()
        return redis

    async def test_commands_are_answered(self) -> None:
        redis = await self.well()
        key = f"mtad-test-{secrets.token_hex(8)}"
        await redis.command("SET", key, b"octets \xff", "EX", 10)
        self.assertEqual(await redis.command("GET", key), b"octets \xff")
        self.assertEqual(await redis.command("DEL", key), 1)

    async def test_an_error_for_one_command_leaves_the_connection(self) -> None:
        redis = await self.well()
        try:
            await redis.command("NO-SUCH-COMMAND")
        except Unavailable as trouble:
            self.assertIn("unknown command", trouble.reason)
        await redis.check()


class ScriptedRedis(Factory):
    """Answers each command with what `answers` says of its first word, `+OK` otherwise; None stays silent."""

    noisy = False

    def __init__(self) -> None:
        self.answers: dict[str, bytes | None] = {"PING": b"+PONG\r\n"}
        self.commands: list[list[str]] = []
        self.sessions: list[RespProtocol] = []
        self.greets_and_hangs_up = False

    def buildProtocol(self, addr: Any) -> "RespProtocol":
        self.sessions.append(RespProtocol(self))
        return self.sessions[-1]


class RespProtocol(Protocol):
    """Reads commands as arrays of bulk strings."""

    def __init__(self, server: ScriptedRedis) -> None:
        self.server = server
        self.unread = b""

    def dataReceived(self, data: bytes) -> None:
        self.unread += data
        while words := self.words():
            self.server.commands.append(words)
            answer = self.server.answers.get(words[0], b"+OK\r\n")
            if answer is not None:
                self.transport.write(answer)
            if words[0] == "PING" and self.server.greets_and_hangs_up:
                self.transport.loseConnection()

    def words(self) -> list[str]:
        """Return the next whole command; all our commands come whole."""
        if not self.unread:
            return []
        lines = self.unread.split(b"\r\n")
        count = int(lines[0][1:])
        self.unread = b"\r\n".join(lines[1 + 2 * count :])
        return [line.decode() for line in lines[2 : 2 + 2 * count : 2]]


ADDRESS = "127.0.0.1:6379"


class RedisMoodsTest(SynchronousTestCase):
    """One clock, one scripted server."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(self.clock)
        self.server = ScriptedRedis()
        self.port = self.network.serve(ADDRESS, self.server)

    def start(self, **terms: Any) -> Redis:
        redis = Redis(server=RedisServer(ADDRESS, **terms), network=self.network, clock=self.clock, random=Steady())
        redis.startService()
        self.clock.advance(0)
        return redis

    def ask(self, redis: Redis, *words: str) -> Deferred[Any]:
        answered = Deferred.fromCoroutine(redis.command(*words))
        self.clock.advance(0)
        return answered

    def trouble(self, redis: Redis) -> str:
        reason: str = self.failureResultOf(self.ask(redis, "PING"), Unavailable).value.reason
        return reason

    def test_without_credentials_it_only_says_hello(self) -> None:
        self.start()
        self.assertEqual(self.server.commands, [["PING"]])

    def test_it_introduces_itself_before_anything_else(self) -> None:
        self.start(username="mtad", password="secret", db=3)
        self.assertEqual(self.server.commands, [["AUTH", "mtad", "secret"], ["SELECT", "3"], ["PING"]])

    def test_a_password_without_a_name(self) -> None:
        self.start(password="secret")
        self.assertEqual(self.server.commands[0], ["AUTH", "secret"])

    def test_a_wrong_password_is_tried_again_and_never_shown(self) -> None:
        self.server.answers["AUTH"] = b"-WRONGPASS invalid username-password pair\r\n"
        redis = self.start(password="secret")
        self.assertIn("WRONGPASS", self.trouble(redis))
        self.assertNotIn("secret", self.trouble(redis))
        self.assertNotIn("secret", repr(RedisServer(ADDRESS, password="secret")))
        self.server.answers["AUTH"] = b"+OK\r\n"
        self.clock.pump([0.1] * 3)
        self.successResultOf(self.ask(redis, "PING"))

    def test_a_server_that_is_loading_is_waited_for(self) -> None:
        self.server.answers["PING"] = b"-LOADING Redis is loading the dataset in memory\r\n"
        redis = self.start()
        self.assertIn("LOADING", self.trouble(redis))
        self.clock.pump([0.1] * 100)
        self.server.answers["PING"] = b"+PONG\r\n"
        self.clock.pump([0.1] * 60)
        self.assertEqual(self.successResultOf(self.ask(redis, "PING")), "PONG")

    def test_it_connects_again_when_the_connection_is_lost(self) -> None:
        redis = self.start()
        waiting = self.ask(redis, "PING")
        self.successResultOf(waiting)
        self.server.sessions[0].transport.loseConnection()
        self.clock.advance(0)
        self.assertIn("connection was lost", self.trouble(redis))
        self.clock.pump([SHORTEST_PAUSE_SECONDS, 0])
        self.assertEqual(len(self.server.sessions), 2)
        self.successResultOf(self.ask(redis, "PING"))

    def test_commands_under_way_fail_with_the_connection(self) -> None:
        redis = self.start()
        self.server.answers["GET"] = None
        waiting = self.ask(redis, "GET", "key")
        self.server.sessions[0].transport.abortConnection()
        self.clock.advance(0)
        self.failureResultOf(waiting, Unavailable)

    def test_attempts_are_far_between_but_not_too_far(self) -> None:
        self.port.stopListening()
        redis = self.start()
        self.assertIn("cannot connect to 127.0.0.1:6379", self.trouble(redis))
        self.clock.pump([0.01] * 6000)
        self.assertTrue(10 < len(self.network.dialled) < 25, len(self.network.dialled))
        self.network.serve(ADDRESS, self.server)
        self.clock.advance(LONGEST_PAUSE_SECONDS)
        self.successResultOf(self.ask(redis, "PING"))

    def test_a_silent_server_is_left_after_two_seconds(self) -> None:
        redis = self.start()
        self.server.answers["GET"] = None
        waiting = self.ask(redis, "GET", "key")
        self.clock.advance(1.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.assertIn("no answer to GET", self.failureResultOf(waiting, Unavailable).value.reason)
        self.clock.pump([SHORTEST_PAUSE_SECONDS, 0])
        self.successResultOf(self.ask(redis, "PING"))
        self.assertEqual(len(self.server.sessions), 2)

    def test_a_server_that_lets_in_and_hangs_up_is_not_run_down(self) -> None:
        self.server.greets_and_hangs_up = True
        self.start()
        self.clock.pump([0.01] * 100)
        self.assertTrue(2 <= len(self.server.sessions) <= 11, len(self.server.sessions))

    def test_a_silent_address_is_given_up_after_a_while(self) -> None:
        self.network.silent.add(ADDRESS)
        redis = self.start()
        self.assertIn("not connected yet", self.trouble(redis))
        self.clock.advance(CONNECT_SECONDS)
        self.assertIn("cannot connect", self.trouble(redis))

    def test_stopping_closes_the_connection_and_makes_none_again(self) -> None:
        redis = self.start()
        self.successResultOf(redis.stopService())
        self.clock.pump([1.0] * 20)
        self.assertEqual(len(self.server.sessions), 1)
        self.assertFalse(self.server.sessions[0].connected and self.server.sessions[0].transport.connected)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.failureResultOf(self.ask(redis, "PING"), Unavailable)

    def test_stopping_gives_up_what_it_waits_for(self) -> None:
        self.network.silent.add(ADDRESS)
        self.successResultOf(self.start().stopService())
        self.network.silent.clear()
        self.port.stopListening()
        self.successResultOf(self.start().stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_caller_that_gives_up_leaves_the_connection(self) -> None:
        redis = self.start()
        self.server.answers["GET"] = None
        waiting = self.ask(redis, "GET", "key")
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.server.sessions[0].transport.write(b"$2\r\nhi\r\n")
        self.assertEqual(self.successResultOf(self.ask(redis, "PING")), "PONG")

    def test_settings_that_cannot_be(self) -> None:
        for server in (RedisServer("nothing"), RedisServer("/run/redis.sock", tls=True)):
            self.assertRaises(
                InvalidInput, Redis, server=server, network=self.network, clock=self.clock, random=Steady()
            )
