"""Waiting for what tells nobody that it has come: it is looked at again and again, up to a deadline.

Where something does tell, as a line of the log or the end of a process, that is waited for instead. Time that has to
pass because the scenario is made of it goes by `let_pass`, so that nobody takes it for a wait.
"""

import time
from collections.abc import Callable
from typing import TypeVar

_GLANCE_SECONDS = 0.05
_Found = TypeVar("_Found")


def until(
    condition: Callable[[], _Found],
    seconds: float,
    what: str,
    tell: Callable[[], object] = lambda: "",
    despite: type[Exception] | tuple[type[Exception], ...] = (),
) -> _Found:
    """Return what `condition` answers, once that counts as true; an exception of `despite` is a no.

    After so many seconds it is AssertionError, which says `what` did not come and what `tell` tells of it then.
    """
    deadline = time.monotonic() + seconds
    while True:
        refusal = None
        try:
            if found := condition():
                return found
        except despite as error:
            refusal = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; {tell()}") from refusal
        time.sleep(_GLANCE_SECONDS)


def let_pass(seconds: float) -> None:
    """Let time pass that belongs to the scenario; nothing is waited for."""
    time.sleep(seconds)
