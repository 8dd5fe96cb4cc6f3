"""What is wanted of a process while it runs: by operators through PostgreSQL, by its supervisor through their link.

A process that drains lets sessions end with what they have in hand, begins no new ones, gives back rows it has not
begun, and claims none. Whoever connects is told 421 4.3.2; but while other processes on the same sockets work, it
leaves connections to them.

The notices of `CHANNEL` are `drain`, which says that rows of nodes changed, and `reload TOKEN NAME`, which wants the
processes of that name to be replaced. One that is missed does no harm: the first is seen with the next beat, the second
is repeated by who waits for it.
"""

from collections.abc import Callable, Mapping, Sequence

from mtad.inbound.factory import SmtpFactory
from mtad.interfaces import IJournal, IListener
from mtad.model.control import DRAIN, RELOAD, notice
from mtad.model.event import Fact
from mtad.model.process import Part
from mtad.model.text import shown
from mtad.outbound.membership import Membership
from mtad.outbound.worker import Worker

ALONE = "server.processes is not set, so it reads its configuration only at its start"


class Steering:
    """Steers the parts of one process; `notes` are shown in its node's row."""

    def __init__(
        self,
        *,
        part: Part,
        node_name: str,
        membership: Membership,
        worker: Worker,
        entrances: Sequence[SmtpFactory],
        listeners: Sequence[IListener],
        journal: IJournal,
    ) -> None:
        self._node_name = node_name
        self._membership = membership
        self._worker = worker
        self._entrances = entrances
        self._listeners = listeners
        self._journal = journal
        self._tell_reload: Callable[[str], None] | None = None
        self._tell_draining: Callable[[bool], None] = lambda on: None
        self._refuses = not part.supervised
        self._draining = False
        self._notes: dict[str, Fact] = {"process": part.number, "processes": part.count}

    @property
    def draining(self) -> bool:
        """Whether this process drains."""
        return self._draining

    @property
    def notes(self) -> Mapping[str, Fact]:
        """What the node's row shows: which process it is, whether it drains, why its last reload was refused."""
        sessions = sum(entrance.session_count for entrance in self._entrances)
        return {**self._notes, "sessions": sessions, "draining": self._draining}

    def obey(self, *, reload: Callable[[str], None], draining: Callable[[bool], None]) -> None:
        """Have a supervisor, which wants to hear of each reload that is wanted (its token) and of draining."""
        self._tell_reload = reload
        self._tell_draining = draining

    def drain(self, on: bool) -> None:
        """Drain, or work again."""
        self._draining = on
        self._worker.drain(on)
        for entrance in self._entrances:
            entrance.drain(on)
        self._mind_listeners()
        self._tell_draining(on)
        # Whoever wanted it waits to see that it is so.
        self._membership.beat_now()

    def refuse(self, on: bool) -> None:
        """Say whether connections are to be refused while this process drains, or left to others."""
        self._refuses = on
        self._mind_listeners()

    def heard(self, channel: str, payload: str) -> None:
        """Act on a notice."""
        said = notice(channel, payload)
        if said is None:
            return
        if said.what == DRAIN:
            self._membership.beat_now()
        elif said.what == RELOAD and said.name == self._node_name:
            self._reload(said.token)

    def refuse_reload(self) -> None:
        """Say that there is no supervisor who could reload."""
        self._journal.record("reload.refused", reason=ALONE)

    def refused(self, token: str, reason: str) -> None:
        """Show why a reload was refused."""
        self._notes["refused"] = f"{token} {shown(reason)}"
        self._membership.beat_now()

    def _reload(self, token: str) -> None:
        if self._tell_reload is not None:
            self._tell_reload(token)
        elif not str(self._notes.get("refused")).startswith(f"{token} "):
            self.refuse_reload()
            self.refused(token, ALONE)

    def _mind_listeners(self) -> None:
        for listener in self._listeners:
            if self._draining and not self._refuses:
                listener.pause()
            else:
                listener.resume()
