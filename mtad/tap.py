"""`twistd -n mtad --config config.yaml`: the options, and the server made of them (DESIGN D2, D3).

The only module that imports the reactor. Whatever keeps the server from starting is one line on standard error and
exit status 1. Errors of the command line are twistd's to tell.
"""

import atexit
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn, cast

from twisted.application.service import MultiService
from twisted.internet.base import ReactorBase
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.failure import Failure

from mtad import config, ports, service
from mtad.adapters.logs import LineWriter, LogObserver, as_json, as_text
from mtad.model.errors import MtadError
from mtad.model.text import shown


class Options(usage.Options):
    """The command line behind `twistd mtad`."""

    synopsis = "[--config FILE]"
    longdesc = "A multi-tenant mail transfer agent. Everything else is set in the configuration file."
    optParameters: ClassVar = [
        ["config", "c", "config.yaml", "The configuration file; docs/configuration.md describes it."],
    ]


class Application(MultiService):
    """The top of the services: it brings twistd the log observer, None to leave twistd's own."""

    def __init__(self, observer: LogObserver | None) -> None:
        super().__init__()
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:
        """Become twistd's application, whose log observer twistd asks for before it starts anything."""
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)


def makeService(options: Options) -> Application:
    """Return the server, its stores open and its sockets bound; exit with one line when that cannot be."""
    from twisted.internet import reactor

    assert isinstance(reactor, ReactorBase)
    use_monotonic_time(reactor)
    try:
        settings = config.load(Path(options["config"]), os.environ)
        observer = _observer(settings.logging) if _log_is_ours(options.parent) else None
        log = Logger(namespace=__name__, observer=observer)
        for warning in settings.warnings:
            log.warn("{log_text}", log_text=warning)
        server = _assembled(settings, reactor, lambda text: log.info("{log_text}", log_text=text))
    except MtadError as error:
        _refuse(error)
    server.started.addErrback(_give_up, reactor)
    application = Application(observer)
    server.setServiceParent(application)
    return application


def _assembled(settings: config.Settings, reactor: ReactorBase, say: Callable[[str], None]) -> service.Server:
    """Return the server; when it cannot be made its stores are let go."""
    stores = ports.open_stores(settings, say)
    try:
        return service.build(settings, ports.make(settings, cast(ports.IReactor, reactor), stores))
    except BaseException:
        stores.close()
        raise


def use_monotonic_time(reactor: ReactorBase) -> None:
    """Make the reactor's timers independent of the wall clock, before the first of them is set.

    `callLater`, `timeout` and `runUntilCurrent` all ask `self.seconds`, which is `time.time` by default: after a step
    back of an hour no timer would fire for an hour (DESIGN D3).
    """
    assert not reactor.getDelayedCalls()
    reactor.seconds = time.monotonic


def _log_is_ours(twistd: Any) -> bool:
    """Return whether the log goes to standard output and twistd was not told of another observer."""
    in_foreground = twistd["nodaemon"] or twistd["debug"]
    return bool(in_foreground and not twistd["logger"] and not twistd["syslog"] and twistd["logfile"] in (None, "-"))


def _observer(logging: config.Logging) -> LogObserver:
    writer = LineWriter(sys.stdout.fileno())
    render = as_json if logging.format == "json" else as_text
    return LogObserver(write=writer.write, render=render, level=logging.level, levels=logging.levels)


def _refuse(error: MtadError) -> NoReturn:
    _say(error)
    raise SystemExit(1)


def _give_up(failure: Failure, reactor: ReactorBase) -> None:
    """End the process with status 1: its stores or its node could not be started."""
    if not failure.check(MtadError):
        Logger(namespace=__name__).failure("the server could not start", failure)
    _say(failure.value)
    # twistd knows no exit status but 0 once the reactor ran.
    atexit.register(os._exit, 1)
    reactor.callWhenRunning(_stop, reactor)


def _say(error: BaseException | None) -> None:
    what = str(error) if isinstance(error, MtadError) else f"{type(error).__name__}: {error}"
    # sys.stderr is a part of the log once that began.
    print(f"mtad: {shown(what, 1000)}", file=sys.__stderr__)


def _stop(reactor: ReactorBase) -> None:
    try:
        reactor.stop()
    except ReactorNotRunning:
        pass  # somebody else was faster
