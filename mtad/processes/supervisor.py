"""The supervisor: runs the processes, replaces them at a reload, ends them (DESIGN D14).

A reload reads and checks the configuration first. When it is bad, or the first process with it does not come up, all
stays as it was. New sockets are bound before, and old ones closed after, the processes are replaced one by one.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.python.failure import Failure

from mtad.adapters.metrics import Journal
from mtad.adapters.network import SocketNetwork
from mtad.config import Settings
from mtad.model.errors import MtadError, Unavailable
from mtad.model.samples import Family
from mtad.model.text import shown
from mtad.processes.pages import Pages
from mtad.processes.plan import Plan
from mtad.processes.running import LAST, REFUSE, REFUSED, RELOAD, Running, Spawning
from mtad.processes.slot import Slot
from mtad.processes.sockets import Sockets
from mtad.processes.totals import Totals
from mtad.web.site import site

_TOKENS = 100


class Supervisor(Service):
    """Runs what `plan` says, on sockets that are bound when it is made: InvalidInput when one cannot be.

    `read_plan` reads the configuration anew and `check` what it names, both with InvalidInput; `release` lets go of
    what was opened for the start. `started` fires when all processes are up, and fails when one of the first is not.
    """

    name = "supervisor"

    def __init__(
        self,
        plan: Plan,
        *,
        read_plan: Callable[[], Plan],
        check: Callable[[Settings], None],
        release: Callable[[], None],
        sockets: Sockets,
        network: SocketNetwork,
        spawning: Spawning,
        journal: Journal,
        clock: IReactorTime,
    ) -> None:
        self.started: Deferred[None] = Deferred()
        self._plan = plan
        self._read_plan = read_plan
        self._check = check
        self._release = release
        self._sockets = sockets
        self._network = network
        self._spawning = spawning
        self._journal = journal
        self._clock = clock
        self._slots: dict[int, Slot] = {}
        self._living: set[Running] = set()
        self._totals = Totals(plan.settings.metrics.max_domains)
        self._stopping = False
        self._tokens: deque[str] = deque(maxlen=_TOKENS)
        self._wanted: dict[tuple[str, str], None] = {}
        # Before all are up there is nothing to replace.
        self._busy = True
        pages = Pages(
            serving=lambda: {number: slot.running for number, slot in self._slots.items()},
            living=lambda: self._living,
            totals=self._totals,
            journal=journal,
            clock=clock,
            is_stopping=lambda: self._stopping,
        )
        self._site = site(
            readiness=pages.readiness,
            exposition=pages.exposition,
            networks=plan.settings.server.http_ranges,
            clock=clock,
        )
        sockets.hold(_all_addresses(plan))
        self._http = self._listen_for_http(plan)

    def startService(self) -> None:
        """Start the processes; `started` tells."""
        super().startService()
        self._slots = {number: self._slot(number, self._plan) for number in range(1, self._plan.count + 1)}
        coming = [Deferred.fromCoroutine(_up(slot)) for slot in self._slots.values()]
        up = gatherResults(coming, consumeErrors=True).addCallbacks(self._all_up, _first_trouble)
        up.chainDeferred(self.started)

    def stopService(self) -> "Deferred[None]":
        """Stop all processes beside each other; fires when there is none."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def reload(self, by: str, token: str = "") -> None:
        """Read the configuration anew and replace the processes, after what is under way; a token counts once.

        What is wanted meanwhile, however often, is one reload more.
        """
        if token in self._tokens:
            return
        if token:
            self._tokens.append(token)
        self._wanted[by, token] = None
        self._reload_if_wanted()

    async def _stop(self) -> None:
        self._stopping = True
        self._journal.record("service.stopping")
        for slot in self._slots.values():
            slot.close()
        await gatherResults([running.stop() for running in self._living])
        await _stopped(self._http)
        self._sockets.close()
        self._release()
        self._journal.record("service.stopped")

    def _reload_if_wanted(self) -> None:
        if self._wanted and not self._busy and not self._stopping:
            self._busy = True
            wanted, self._wanted = list(self._wanted), {}
            Deferred.fromCoroutine(self._reload(wanted)).addBoth(self._reloaded)

    def _reloaded(self, _: object) -> None:
        self._busy = False
        self._reload_if_wanted()

    async def _reload(self, wanted: Sequence[tuple[str, str]]) -> None:
        self._journal.record("reload.begun", by=", ".join(sorted({by for by, _ in wanted})))
        tokens = [token for _, token in wanted if token]
        began_at = self._clock.seconds()
        try:
            plan = self._read_plan()
            self._check(plan.settings)
            self._sockets.hold(_all_addresses(plan))
            await self._replace(plan)
        except MtadError as wrong:
            self._refuse(tokens, str(wrong))
        except Exception:
            self._journal.record("task.surprise", task="reload", failure=Failure().getTraceback())
            self._refuse(tokens, "internal trouble, see the log")
        else:
            seconds = self._clock.seconds() - began_at
            self._journal.record("reload.done", processes=self._plan.count, seconds=seconds)
        if not self._stopping:
            # Where not all could be replaced some follow the plan before.
            plans = [self._plan, *(slot.plan for slot in self._slots.values())]
            self._sockets.keep({address for plan in plans for address in _all_addresses(plan)})

    async def _replace(self, plan: Plan) -> None:
        """Let one process after the other follow the plan, which is in force as soon as the first is up."""
        for number in range(1, plan.count + 1):
            slot = self._slots.get(number) or self._slot(number, plan)
            await slot.replace(plan)
            self._slots[number] = slot
            if self._stopping:
                raise Unavailable("supervisor", "is stopping")
            await self._follow(plan)
        for number in [number for number in self._slots if number > plan.count]:
            await self._slots.pop(number).stop()

    async def _follow(self, plan: Plan) -> None:
        before, self._plan = self._plan, plan
        self._site.admit(plan.settings.server.http_ranges)
        if plan.settings.server.http_addr != before.settings.server.http_addr:
            http, self._http = self._http, self._listen_for_http(plan)
            await _stopped(http)

    def _refuse(self, tokens: Sequence[str], reason: str) -> None:
        self._journal.record("reload.refused", reason=shown(reason, 1000))
        for token in tokens:
            for running in self._living:
                running.link.tell(REFUSED, [token, reason])

    def _slot(self, number: int, plan: Plan) -> Slot:
        return Slot(number, plan, self._spawn, self._clock, self._journal)

    def _spawn(self, number: int, plan: Plan) -> Running:
        running = self._spawning.spawn(number, plan, self._sockets.at(plan.addresses), self._hear, self._ended)
        self._living.add(running)
        return running

    def _hear(self, running: Running, what: str, value: Any) -> None:
        if what == RELOAD:
            self.reload("mtactl", str(value))
        elif what == LAST:
            self._totals.keep(running.serial, msgspec.convert(value, list[Family]))
        else:
            self._mind_processes()

    def _ended(self, running: Running) -> None:
        self._living.discard(running)
        self._totals.end(running.serial)
        self._mind_processes()

    def _mind_processes(self) -> None:
        """Count those that are up. Those that drain leave connections to the others, unless there is none."""
        up = [running for running in self._living if running.up]
        self._journal.record("process.counted", up=len(up))
        alone = all(running.draining for running in up)
        for running in up:
            running.link.tell(REFUSE, alone)

    def _listen_for_http(self, plan: Plan) -> IListeningPort:
        address = plan.settings.server.http_addr
        return self._network.adopt(self._sockets.at([address])[address], self._site)

    def _all_up(self, _: object) -> None:
        self._journal.record("service.started")
        self._reloaded(None)


def _all_addresses(plan: Plan) -> tuple[str, ...]:
    return *plan.addresses, plan.settings.server.http_addr


async def _up(slot: Slot) -> None:
    await slot.start().when_up()


def _first_trouble(failure: Failure) -> Failure:
    """Return what gatherResults failed of."""
    failure.trap(FirstError)
    assert isinstance(failure.value, FirstError)
    return failure.value.subFailure


async def _stopped(port: IListeningPort) -> None:
    done = port.stopListening()
    if done is not None:
        await done
