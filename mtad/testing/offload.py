"""The offload's twin: runs work at once in the caller's turn, or when told, and can be told to fail.

No threads: a test sees one order of things, the order of `run`.
"""

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mtad.interfaces import IOffload

T = TypeVar("T")


@implementer(IOffload)
class MemoryOffload:
    """`ran` counts the work done; `waiting` is how much is held back."""

    def __init__(self) -> None:
        self.ran = 0
        self._holding = False
        self._held: deque[Callable[[], None]] = deque()
        self._failures: deque[Exception] = deque()

    @property
    def waiting(self) -> int:
        """How many runs are held back."""
        return len(self._held)

    def run(self, work: Callable[..., T], *arguments: object) -> "Deferred[T]":
        """Run `work(*arguments)` now, or queue it while held."""
        done: Deferred[T] = Deferred()
        self._held.append(lambda: self._finish(done, work, arguments))
        if not self._holding:
            self.release_next()
        return done

    def hold(self) -> None:
        """Let work wait from now on, as behind a slow disk."""
        self._holding = True

    def release_next(self) -> None:
        """Run the oldest of the work that waits; IndexError when none does."""
        self._held.popleft()()

    def release(self) -> None:
        """Run all that waits, oldest first, and hold no more."""
        self._holding = False
        while self._held:
            self.release_next()

    def fail_next(self, error: Exception, times: int = 1) -> None:
        """Let the next `times` runs fail with `error` without doing their work."""
        self._failures.extend([error] * times)

    def _finish(self, done: "Deferred[T]", work: Callable[..., T], arguments: tuple[object, ...]) -> None:
        self.ran += 1
        try:
            if self._failures:
                raise self._failures.popleft()
            result = work(*arguments)
        except Exception:
            done.errback()
        else:
            done.callback(result)
