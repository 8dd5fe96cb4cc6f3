"""A process' side of its link: it obeys its supervisor, answers it, and ends when it is gone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred, fail, succeed

from mtad.model.samples import Family
from mtad.processes.link import Link
from mtad.processes.running import DRAINING, FAMILIES, LAST, READY, REFUSE, REFUSED, RELOAD, STARTED
from mtad.web.ready import Readiness


class Steered(Protocol):
    """What steers the rest of the process (`mtad.service.steering`)."""

    def obey(self, *, reload: Callable[[str], None], draining: Callable[[bool], None]) -> None:
        """Have a supervisor, which wants to hear of reloads that are wanted and of draining."""

    def refuse(self, on: bool) -> None:
        """Say whether connections are to be refused while the process drains."""

    def refused(self, token: str, reason: str) -> None:
        """Show why a reload was refused."""


class Governed:
    """Joins the link to the process; `end` stops it."""

    def __init__(
        self,
        *,
        steering: Steered,
        readiness: "Callable[[], Deferred[Readiness]]",
        families: Callable[[], Sequence[Family]],
        end: Callable[[], None],
    ) -> None:
        self.link = Link(heard=self._hear, lost=end, answer=self._answer)
        self._steering = steering
        self._readiness = readiness
        self._families = families
        steering.obey(
            reload=lambda token: self.link.tell(RELOAD, token), draining=lambda on: self.link.tell(DRAINING, on)
        )

    def started(self) -> None:
        """Say that the process is up."""
        self.link.tell(STARTED)

    def finish(self) -> "Deferred[None]":
        """Say what was counted until the end; fires when it is said."""
        self.link.tell(LAST, self._counted())
        return self.link.finish()

    def _hear(self, what: str, value: Any) -> None:
        if what == REFUSE:
            self._steering.refuse(bool(value))
        elif what == REFUSED:
            token, reason = value
            self._steering.refused(token, reason)

    def _answer(self, what: str) -> "Deferred[Any]":
        if what == FAMILIES:
            return succeed(self._counted())
        if what == READY:
            return self._readiness().addCallback(_told)
        return fail(ValueError(f"nothing is known of {what}"))

    def _counted(self) -> object:
        return msgspec.to_builtins(self._families())


def _told(readiness: Readiness) -> Mapping[str, object]:
    return readiness.told
