"""What HTTP tells of all processes together: each is asked, and what one does not answer in time is not waited for."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from mtad.adapters.metrics import Journal, exposition
from mtad.model.errors import Unavailable
from mtad.model.journal import METRICS
from mtad.model.samples import Family
from mtad.processes.readiness import Page, Silent, together
from mtad.processes.running import FAMILIES, READY, Running
from mtad.processes.totals import Totals
from mtad.web.ready import CHECK_SECONDS, Readiness

ANSWER_SECONDS = CHECK_SECONDS + 1.0
"""How long a process may take to answer; what it depends on is asked meanwhile."""

_SUPERVISOR = 0
_OWN_GAUGES = frozenset({"server_processes"})


class Pages:
    """`serving` returns the process of each number, `living` all of them, those that stop among them."""

    def __init__(
        self,
        *,
        serving: Callable[[], Mapping[int, Running | None]],
        living: Callable[[], Iterable[Running]],
        totals: Totals,
        journal: Journal,
        clock: IReactorTime,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._serving = serving
        self._living = living
        self._totals = totals
        self._journal = journal
        self._clock = clock
        self._is_stopping = is_stopping

    def readiness(self) -> "Deferred[Readiness]":
        """Fire with the readiness of all."""
        serving = self._serving()
        asked = gatherResults([self._page(running) for running in serving.values()])
        return asked.addCallback(
            lambda pages: together(dict(zip(serving, pages, strict=True)), stopping=self._is_stopping())
        )

    def exposition(self) -> "Deferred[bytes]":
        """Fire with the metrics of all, those that ended among them."""
        asked = gatherResults([self._count(running) for running in self._living() if running.up])
        return asked.addCallback(lambda _: self._sum())

    def _page(self, running: Running | None) -> "Deferred[Page | Silent]":
        if running is None or not running.up:
            silent: Deferred[Page | Silent] = Deferred()
            silent.callback(Silent("starting" if running is not None else "ended, and about to be started again"))
            return silent
        return self._asked(running, READY).addErrback(_silent)

    def _count(self, running: Running) -> "Deferred[None]":
        return self._asked(running, FAMILIES).addCallbacks(
            lambda counted: self._totals.keep(running.serial, msgspec.convert(counted, list[Family])),
            # What it told last stays; how it fares is for the log and /ready to say.
            lambda failure: None if failure.check(Unavailable) else failure,
        )

    def _asked(self, running: Running, what: str) -> "Deferred[Any]":
        return running.link.ask(what).addTimeout(ANSWER_SECONDS, self._clock, _too_long)

    def _sum(self) -> bytes:
        # A gauge of what only a process has is none of the supervisor's, which would make the smallest one 0.
        own = [
            family
            for family in self._journal.families()
            if family.kind != "gauge" or family.name not in METRICS or family.name in _OWN_GAUGES
        ]
        self._totals.keep(_SUPERVISOR, own)
        return exposition(self._totals.families())


def _too_long(result: object, timeout_seconds: float) -> Failure:
    return Failure(Unavailable("process", f"no answer within {timeout_seconds:g} s"))


def _silent(failure: Failure) -> Silent:
    failure.trap(Unavailable)
    assert isinstance(failure.value, Unavailable)
    return Silent(failure.value.reason)
