"""When to try again, and when no more: exponential backoff with jitter.

The first wait is `retry_delay`, each further one twice the last, none longer than `max_retry_delay` (RFC 5321
§4.5.4.1), and none beyond the end of the lifetime, so that the last try comes at that end. Chance takes up to a
quarter off, so that what failed together does not come back together; the two settings stay upper bounds. Pure: time
and chance are arguments, and nothing here knows why an attempt failed.
"""

from enum import Enum
from math import inf

_JITTER = 0.25
# A double's exponent ends at 1023; long before, the longest delay has won.
_MAX_DOUBLINGS = 64


class GivenUp(Enum):
    """Why a recipient is not tried again; the value is for its story."""

    RETRIES = "no retries are left"
    LIFETIME = "its lifetime is over"


def next_due(
    attempts: int,
    now: float,
    retry_delay_seconds: float,
    max_retry_delay_seconds: float,
    chance: float,
    expires_at: float = inf,
) -> float:
    """Return when to try again, in epoch seconds as `now` and `expires_at` are; never after `expires_at`.

    `attempts` counts those before the one that just failed, as in a queue row; `chance` is drawn from [0, 1).
    """
    doubled = retry_delay_seconds * 2.0 ** min(attempts, _MAX_DOUBLINGS)
    return min(now + min(doubled, max_retry_delay_seconds) * (1.0 - _JITTER * chance), expires_at)


def given_up(attempts: int, now: float, max_retries: int, expires_at: float) -> GivenUp | None:
    """Return why the attempt that failed at `now` was the last, None when there is to be another.

    `attempts` counts as in `next_due`: the first try is no retry, so with `max_retries` 0 nothing is tried twice.
    """
    if attempts >= max_retries:
        return GivenUp.RETRIES
    return GivenUp.LIFETIME if now >= expires_at else None
