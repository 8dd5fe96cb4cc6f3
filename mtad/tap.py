"""`twistd -n mtad --config config.yaml`: the options, and the server made of them (DESIGN D2, D3, D14).

The only module that imports the reactor. Whatever keeps the server from starting is one line on standard error and
exit status 1. Errors of the command line are twistd's to tell.
"""

import atexit
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from socket import socket
from typing import Any, ClassVar, NoReturn, cast

from twisted.application.service import IService, MultiService
from twisted.internet.base import ReactorBase
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.failure import Failure

from mtad import config, ports, service
from mtad.adapters.logs import LineWriter, LogObserver, as_json, as_text, without_waiting
from mtad.adapters.metrics import Journal
from mtad.adapters.network import SocketNetwork, listening
from mtad.model.errors import InvalidInput, MtadError
from mtad.model.process import ALONE, Part
from mtad.model.text import shown
from mtad.processes.plan import Plan, read_plan
from mtad.processes.running import IReactor as SpawningReactor
from mtad.processes.running import Spawning
from mtad.processes.sockets import Sockets
from mtad.processes.supervisor import Supervisor

SUPERVISOR = 0
"""The number of the supervisor in the log, where processes begin with 1."""

Say = Callable[[str], None]


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
    """Return the server, its stores open and its sockets bound; exit with one line when that cannot be.

    It is the server itself, or a supervisor where `server.processes` is set.
    """
    reactor = real_reactor()
    try:
        plan = read_plan(Path(options["config"]), os.environ)
        supervised = plan.settings.server.processes is not None
        log_is_ours = _log_is_ours(options.parent)
        if supervised:
            _require(options.parent, plan.settings, log_is_ours)
        observer = observing(plan.settings.logging, SUPERVISOR if supervised else None) if log_is_ours else None
        log = Logger(namespace=__name__, observer=observer)
        for warning in plan.settings.warnings:
            log.warn("{log_text}", log_text=warning)
        make = _supervisor if supervised else _alone
        application = Application(observer)
        make(plan, reactor, lambda text: log.info("{log_text}", log_text=text)).setServiceParent(application)
    except MtadError as error:
        refuse(error)
    return application


def real_reactor() -> ReactorBase:
    """Return the reactor, with monotonic timers."""
    from twisted.internet import reactor

    assert isinstance(reactor, ReactorBase)
    use_monotonic_time(reactor)
    return reactor


def _alone(plan: Plan, reactor: ReactorBase, say: Say) -> IService:
    """Return the server as one process; it cannot reload, and a SIGHUP from no terminal says so."""
    server = assembled(plan.settings, reactor, say)
    server.started.addCallbacks(spare_what_stays, give_up, errbackArgs=(reactor,))
    if not os.isatty(0):
        # What a supervisor of the system sends to reload must not end a server that cannot.
        signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(server.steering.refuse_reload))
    return cast(IService, server)


def assembled(
    settings: config.Settings,
    reactor: ReactorBase,
    say: Say,
    part: Part = ALONE,
    inherited: Mapping[str, Sequence[socket]] | None = None,
) -> service.Server:
    """Return the server, on sockets of its own or `inherited` ones; when it cannot be made its stores are let go."""
    stores = ports.open_stores(settings, say)
    try:
        made = ports.make(settings, cast(ports.IReactor, reactor), stores, inherited)
        return service.build(settings, made, part)
    except BaseException:
        stores.close()
        raise


def _supervisor(plan: Plan, reactor: ReactorBase, say: Say) -> IService:
    """Return the supervisor of several processes; SIGHUP reloads.

    What processes would fail of, each by itself, is tried here once. The embedded stores stay in use until all end, so
    that they do not stop between two processes.
    """
    ports.check_files(plan.settings)
    stores = ports.open_stores(plan.settings, say)
    journal = Journal(least=plan.settings.logging.least)
    on_reactor = cast(ports.IReactor, reactor)
    sockets = Sockets(listening)
    try:
        supervisor = Supervisor(
            plan,
            read_plan=lambda: read_plan(plan.config, os.environ),
            check=ports.check_files,
            release=stores.close,
            sockets=sockets,
            network=SocketNetwork(on_reactor),
            spawning=Spawning(cast(SpawningReactor, reactor), journal),
            journal=journal,
            clock=on_reactor,
        )
    except BaseException:
        sockets.close()
        stores.close()
        raise
    supervisor.started.addErrback(give_up, reactor)
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(supervisor.reload, "SIGHUP"))
    return supervisor


def spare_what_stays(_: object = None) -> None:
    """Let the garbage collector pass over all there is now: code, configuration, services, some 300 000 objects.

    They stay until the end, and each full collection went through them again: 25-45 ms in which nobody is served, one
    in every 3 000 messages or so (`bench.queue`).
    """
    gc.collect()
    gc.freeze()


def use_monotonic_time(reactor: ReactorBase) -> None:
    """Make the reactor's timers independent of the wall clock, before the first of them is set.

    `callLater`, `timeout` and `runUntilCurrent` all ask `self.seconds`, which is `time.time` by default: after a step
    back of an hour no timer would fire for an hour (DESIGN D3).
    """
    assert not reactor.getDelayedCalls()
    reactor.seconds = time.monotonic


def _require(twistd: Any, settings: config.Settings, log_is_ours: bool) -> None:
    """Raise InvalidInput for options of twistd that processes could not follow."""
    if not log_is_ours:
        raise InvalidInput(
            "twistd",
            "server.processes is set, and processes log to standard output:"
            " run it with --nodaemon, and without --logfile, --syslog and --logger",
        )
    if twistd["chroot"]:
        raise InvalidInput("twistd", "server.processes is set, and processes start outside of --chroot")
    embedded = settings.database is None or settings.redis is None
    if embedded and (twistd["uid"] is not None or twistd["gid"] is not None):
        raise InvalidInput(
            "twistd", "server.processes is set, and --uid and --gid are for stores of your own: run it as that user"
        )


def _log_is_ours(twistd: Any) -> bool:
    """Return whether the log goes to standard output and twistd was not told of another observer."""
    in_foreground = twistd["nodaemon"] or twistd["debug"]
    return bool(in_foreground and not twistd["logger"] and not twistd["syslog"] and twistd["logfile"] in (None, "-"))


def observing(logging: config.Logging, process: int | None) -> LogObserver:
    """Return what writes the log to standard output, each line with the number of the process if there are several."""
    writer = LineWriter(1 if process is None else without_waiting(1))
    render = as_json if logging.format == "json" else as_text
    always = {} if process is None else {"process": process}
    return LogObserver(write=writer.write, render=render, level=logging.level, levels=logging.levels, always=always)


def refuse(error: MtadError) -> NoReturn:
    """End the process with status 1 and a line: it cannot start."""
    _say(error)
    raise SystemExit(1)


def give_up(failure: Failure, reactor: ReactorBase) -> None:
    """End the process with status 1: its stores, its node or its processes could not be started."""
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
