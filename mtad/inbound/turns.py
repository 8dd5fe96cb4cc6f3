"""Turns at something scarce: a number at once, and whoever must wait is served in the round of all who wait.

Nobody can crowd the others out: a name that has much waiting gets one turn while every other name gets one. What it
does not do: decide who is the same name, or limit what one turn lasts.
"""

from collections import deque

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from mtad.model.errors import MtadError


class Crowded(MtadError):
    """No turn was had; nothing has to be given back."""


class Turns:
    """`at_once` turns; of each name `most_waiting` may wait, for `patience` seconds."""

    def __init__(self, *, at_once: int, most_waiting: int, patience: float, clock: IReactorTime) -> None:
        self._free = at_once
        self._most_waiting = most_waiting
        self._patience = patience
        self._clock = clock
        # The round: who is served next stands first.
        self._waiting: dict[str, deque[Deferred[None]]] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def take(self, name: str) -> Deferred[None]:
        """Fire when it is a turn of `name`, which is to be given back; fail with Crowded.

        Cancelling it leaves the queue, and fails with CancelledError.
        """
        if self._free:
            self._free -= 1
            return defer.succeed(None)
        if len(self._waiting.get(name, ())) >= self._most_waiting:
            return defer.fail(Crowded("too many of the same wait already"))
        turn: Deferred[None] = Deferred(lambda waiter: self._leave(name, waiter))
        self._waiting.setdefault(name, deque()).append(turn)
        return turn.addTimeout(self._patience, self._clock, _late)

    def give_back(self) -> None:
        """End a turn; the next one in the round begins."""
        name = next(iter(self._waiting), None)
        if name is None:
            self._free += 1
            return
        queue = self._waiting.pop(name)
        turn = queue.popleft()
        if queue:
            self._waiting[name] = queue
        turn.callback(None)

    def _leave(self, name: str, turn: "Deferred[None]") -> None:
        queue = self._waiting[name]
        queue.remove(turn)
        if not queue:
            del self._waiting[name]


def _late(_: object, patience: float) -> None:
    raise Crowded(f"waited {patience:g} s")
