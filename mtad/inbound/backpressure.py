"""How hard pressed this process is, for its sessions to ask: what they take in is bounded here, and how fast.

What is measured and what follows from it is `mtad.policy.pressure`'s. Under pressure a transaction begins a second
late, and a message is read with pauses; then new sessions and transactions are refused for now. Those under way go on
to their end, but never beyond the memory's budget.
"""

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater

from mtad.interfaces import IJournal, ISpool
from mtad.model import replies
from mtad.model.content import SPOOL_OCTETS
from mtad.model.strain import Strain
from mtad.model.verdict import Refuse, Verdict
from mtad.policy import pressure
from mtad.policy.pressure import CALM, Level, Load, Pressure
from mtad.scheduling.memory import Memory, Stake, Use

LOOK_SECONDS = 1.0
SLOW_SECONDS = 1.0
BREATH_SECONDS = 0.1
"""How long reading pauses after each piece of a message: at 64 KiB a piece a peer still has 640 KiB a second."""


class Backpressure(Service):
    """One a process. `strain` tells of the queue; below `least_room_octets` the spool's disk counts as full."""

    name = "backpressure"

    def __init__(
        self,
        *,
        memory: Memory,
        strain: Callable[[], Strain],
        spool: ISpool,
        least_room_octets: int,
        clock: IReactorTime,
        journal: IJournal,
    ) -> None:
        self._memory = memory
        self._strain = strain
        self._spool = spool
        self._least_room_octets = least_room_octets
        self._clock = clock
        self._journal = journal
        self._pressure = CALM
        self._spool_full = False
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def startService(self) -> None:
        """Begin to look at the disk, and to tell."""
        super().startService()
        self._tell(CALM)
        self._looking.start(LOOK_SECONDS)

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._looking.running:
            self._looking.stop()

    @property
    def slow(self) -> bool:
        """Whether peers are to be slowed down at least."""
        return self._now().level >= Level.SLOW

    def stake(self, use: Use) -> Stake:
        """Return what somebody new tells by how much memory it takes."""
        return self._memory.stake(use)

    def greet(self) -> Verdict:
        """Return whether a session may begin."""
        return pressure.greet(self._now())

    async def begin(self, size: int | None, stake: Stake) -> Verdict:
        """Return whether a transaction may begin, after a while when it had better begin later.

        `size` is what the peer says of its message in octets; for what will be in memory of it there is room then.
        """
        found = self._now()
        if found.level >= Level.SLOW:
            await deferLater(self._clock, SLOW_SECONDS)
            found = self._now()
        verdict = pressure.begin(found)
        octets = min(size or 0, SPOOL_OCTETS)
        if isinstance(verdict, Refuse):
            return verdict
        if not stake.may_hold(octets):
            return Refuse(replies.NO_ROOM, "memory-full")
        stake.hold(octets)
        return verdict

    def _now(self) -> Pressure:
        strain = self._strain()
        disk_full = strain.disk_full or self._spool_full
        load = Load(self._memory.share, strain.waiting_seconds, disk_full, strain.away)
        found = pressure.judge(load, self._pressure)
        if found != self._pressure:
            self._pressure = found
            self._tell(found)
        return found

    def _look(self) -> None:
        """Look at the disk, and tell how much memory is used."""
        self._spool_full = self._spool.room_octets() < self._least_room_octets
        self._now()
        uses = {use.value: self._memory.of(use) for use in Use}
        self._journal.record("memory.used", budget=self._memory.budget, **uses)

    def _tell(self, found: Pressure) -> None:
        self._journal.record(
            "pressure.changed", memory=int(found.memory), database=int(found.database), disk=int(found.disk)
        )
