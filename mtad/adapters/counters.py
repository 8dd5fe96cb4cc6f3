"""Counts in Redis, the same for all processes and machines (ICounters): what may be lost, and is after its window."""

from collections.abc import Sequence

from zope.interface import implementer

from mtad.adapters.redis import Redis
from mtad.interfaces import ICounters

PREFIX = "mtad:"
"""Of all keys, for the server may have other users."""

# One step, so that no count is ever left without an end. The window begins with the first addition and stays.
_ADD = """
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return count
"""


@implementer(ICounters)
class RedisCounters:
    """Counts in the Redis that `redis` is connected to."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, key: str, amount: int, window_seconds: float) -> int:
        """Add to a count and return it (ICounters)."""
        return int(await self._redis.command("EVAL", _ADD, 1, PREFIX + key, amount, round(window_seconds * 1000)))

    async def counts(self, keys: Sequence[str]) -> Sequence[int]:
        """Return counts in the order of their keys (ICounters)."""
        found = await self._redis.command("MGET", *(PREFIX + key for key in keys)) if keys else ()
        return [int(count or 0) for count in found]

    async def forget(self, key: str) -> None:
        """Let a count be 0 (ICounters)."""
        await self._redis.command("DEL", PREFIX + key)
