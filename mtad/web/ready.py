"""`/ready`: whether mail should be sent here now, and if not, which dependency is why.

All dependencies are asked beside each other, each for at most two seconds. Requests that come while they are asked, or
within a second of their being asked, share the answer, so that whoever polls fast costs the database nothing.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.defer import TimeoutError as WaitedTooLong
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import OK, SERVICE_UNAVAILABLE
from twisted.web.server import Request

from mtad.interfaces import IDependency
from mtad.model.errors import Unavailable
from mtad.model.text import shown
from mtad.web.answer import JSON, Content, Page, answer_later

CHECK_SECONDS = 2.0
SHARED_SECONDS = 1.0
WELL = "ok"

Findings = Mapping[str, str]
"""By dependency: `ok`, or what is wrong."""


class Checks:
    """Asks the dependencies, all at once and not more often than needed."""

    _log = Logger()

    def __init__(self, dependencies: Mapping[str, IDependency], clock: IReactorTime) -> None:
        self._dependencies = dependencies
        self._clock = clock
        self._asked_at = float("-inf")
        self._findings: Findings = {}
        self._waiting: list[Deferred[Findings]] = []

    def findings(self) -> "Deferred[Findings]":
        """Fire with what is known of every dependency, asked now or less than a second ago."""
        waiter: Deferred[Findings] = Deferred()
        self._waiting.append(waiter)
        if len(self._waiting) > 1:
            return waiter
        if self._clock.seconds() - self._asked_at < SHARED_SECONDS:
            self._tell(list(self._findings.items()))
        else:
            self._asked_at = self._clock.seconds()
            asked = [self._asked(name, dependency) for name, dependency in self._dependencies.items()]
            gatherResults(asked).addCallback(self._tell)
        return waiter

    def _asked(self, name: str, dependency: IDependency) -> "Deferred[tuple[str, str]]":
        checked: Deferred[None] = maybeDeferred(dependency.check)
        checked.addTimeout(CHECK_SECONDS, self._clock)
        return checked.addCallbacks(lambda _: WELL, self._trouble).addCallback(lambda found: (name, found))

    def _trouble(self, failure: Failure) -> str:
        if isinstance(failure.value, Unavailable):
            return shown(failure.value.reason)
        if isinstance(failure.value, WaitedTooLong):
            return f"no answer within {CHECK_SECONDS:g} s"
        self._log.failure("a dependency could not be checked", failure)
        return "internal trouble, see the log"

    def _tell(self, findings: list[tuple[str, str]]) -> None:
        self._findings = dict(findings)
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(self._findings)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether mail should be sent here now, and what is told of it: a document of JSON."""

    ready: bool
    told: Mapping[str, object]


class OwnReadiness:
    """The readiness of this process: all is well, and it neither stops nor drains.

    What is wrong with `certificates`, by file, is told and changes nothing: those read before are in use.
    """

    def __init__(
        self,
        checks: Checks,
        *,
        is_stopping: Callable[[], bool],
        is_draining: Callable[[], bool],
        certificates: Callable[[], Mapping[str, str]],
    ) -> None:
        self._checks = checks
        self._is_stopping = is_stopping
        self._is_draining = is_draining
        self._certificates = certificates

    def ask(self) -> "Deferred[Readiness]":
        """Fire as soon as all is known."""
        return self._checks.findings().addCallback(self._judged)

    def _judged(self, findings: Findings) -> Readiness:
        stopping, draining = self._is_stopping(), self._is_draining()
        ready = not stopping and not draining and all(found == WELL for found in findings.values())
        told = {"ready": ready, "stopping": stopping, "draining": draining, "dependencies": dict(findings)}
        if troubles := self._certificates():
            told["certificates"] = {file: shown(trouble) for file, trouble in troubles.items()}
        return Readiness(ready, told)


class Ready(Page):
    """200 when `readiness` says so, else 503."""

    def __init__(self, readiness: "Callable[[], Deferred[Readiness]]") -> None:
        super().__init__()
        self._readiness = readiness

    def show(self, request: Request) -> int:
        """Answer as soon as all is known."""
        return answer_later(request, self._readiness().addCallback(self._page))

    def _page(self, readiness: Readiness) -> Content:
        body = json.dumps(readiness.told) + "\n"
        return Content(OK if readiness.ready else SERVICE_UNAVAILABLE, body.encode(), JSON)
