"""`python -m mtad.child`: one of the processes that a supervisor runs (`mtad.processes`); nobody else starts it.

Its descriptor 3 is the link, over which it is told first which process it is, its configuration, and which descriptors
are the listening sockets. It is the same server as the one that is alone, and stops as that does; it stops as well when
the link is lost, for then the supervisor is no more.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any, cast

import msgspec
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger, globalLogBeginner

from mtad import config, ports, service, tap
from mtad.model.errors import MtadError
from mtad.model.process import Part
from mtad.processes.governed import Governed
from mtad.processes.link import Once, first_told
from mtad.processes.plan import Orders
from mtad.processes.running import LINK


def main() -> None:
    """Serve until told to stop."""
    # What the supervisor does at a hangup is its own decision.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    link = socket(fileno=LINK)
    try:
        orders = msgspec.convert(first_told(link), Orders)
    except EOFError:
        sys.exit(1)
    reactor = tap.real_reactor()
    try:
        server = _server(orders, reactor)
    except MtadError as error:
        tap.refuse(error)
    _join(server, link, reactor)
    server.startService()
    reactor.run()


def _server(orders: Orders, reactor: ReactorBase) -> service.Server:
    settings = config.load(Path(orders.config), os.environ, lambda: orders.hostname, octets=orders.octets)
    globalLogBeginner.beginLoggingTo([tap.observing(settings.logging, orders.number)])
    log = Logger(namespace=__name__)
    inherited = {address: [socket(fileno=number) for number in numbers] for address, numbers in orders.sockets.items()}
    part = Part(orders.number, orders.count, supervised=True)
    return tap.assembled(settings, reactor, lambda text: log.info("{log_text}", log_text=text), part, inherited)


def _join(server: service.Server, link: socket, reactor: ReactorBase) -> None:
    """Let the supervisor steer the server, and the process end after it."""

    def end() -> None:
        with suppress(ReactorNotRunning):
            reactor.stop()

    def stop() -> "Deferred[None]":
        return server.stopService().addBoth(lambda _: governed.finish())

    governed = Governed(steering=server.steering, readiness=server.readiness.ask, families=server.families, end=end)
    link.setblocking(False)
    cast(ports.IReactor, reactor).adoptStreamConnection(
        link.fileno(), AF_UNIX, cast(ServerFactory[Any], Once(governed.link))
    )
    link.close()
    server.started.addCallbacks(lambda _: governed.started(), tap.give_up, errbackArgs=(reactor,))
    server.started.addCallback(tap.spare_what_stays)
    reactor.addSystemEventTrigger("before", "shutdown", stop)


if __name__ == "__main__":
    main()
