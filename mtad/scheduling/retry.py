"""When to try again, and when no more: exponential backoff with jitter.

The first wait is `retry_delay`, each further one twice the last, none longer than `max_retry_delay` (RFC 5321
§4.5.4.1). Chance takes up to a quarter off, so that what failed together does not come back together; the two settings
stay upper bounds. Pure: time and chance are arguments, and nothing here knows why an attempt failed.
"""

from enum import Enum

_JITTER = 0.25
# A double's exponent ends at 1023; long before, the longest delay has won.
_MAX_DOUBLINGS = 64


class GivenUp(Enum):
    """Why a recipient is not tried again; the value is for people."""

    RETRIES = "no retries are left"
    LIFETIME = "its lifetime is over"


def next_due(
    attempts: int, now: float, retry_delay_seconds: float, max_retry_delay_seconds: float, chance: float
) -> float:
    """Return when to try again, in epoch seconds as `now` is.

    `attempts` counts those before the one that just failed, as in a queue row; `chance` is drawn from [0, 1).
    """
    doubled = retry_delay_seconds * 2.0 ** min(attempts, _MAX_DOUBLINGS)
    return now + min(doubled, max_retry_delay_seconds) * (1.0 - _JITTER * chance)


def given_up(attempts: int, due: float, max_retries: int, expires_at: float) -> GivenUp | None:
    """Return why the attempt that just failed was the last, None when there is to be another at `due`.

    `attempts` counts as in `next_due`: the first try is no retry, so with `max_retries` 0 nothing is tried twice.
    """
    if attempts >= max_retries:
        return GivenUp.RETRIES
    return GivenUp.LIFETIME if due >= expires_at else None
