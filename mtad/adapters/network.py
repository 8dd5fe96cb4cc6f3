"""Sockets: where connections come from and go to.

An address is bound when it is asked for, before the reactor runs, so that a port in use ends the start with one line.
`:25` means every address of the machine, each family with a socket of its own: peers over IPv4 then show as IPv4, and
a machine without IPv6 is served as well. It does not guard where a dial may go.

A process under a supervisor binds nothing: it is given the sockets of each address, and listens at those.
"""

import errno
import socket
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, cast

from twisted.internet import error
from twisted.internet.abstract import FileDescriptor, isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IReactorPluggableNameResolver,
    IReactorSocket,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, ServerFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.interfaces import IListener, INetwork
from mtad.model.endpoint import UnixPath, parse
from mtad.model.errors import InvalidInput

BACKLOG = 1024

# A family the kernel was built or booted without.
_ABSENT = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}

# The family of each version of IP, and an address of it that no machine has.
_FAMILIES = {4: (socket.AF_INET, "240.0.0.1"), 6: (socket.AF_INET6, "100::1")}


class IReactor(IReactorTCP, IReactorUNIX, IReactorSocket, IReactorTime, IReactorPluggableNameResolver):
    """What this module asks of a reactor; the real one provides it all."""


@implementer(IListener)
class Ports:
    """The sockets of one address as one port."""

    def __init__(self, ports: list[IListeningPort]) -> None:
        self._ports = ports
        self._paused = False
        self._stopped = False

    def startListening(self) -> None:
        """Do nothing: they listen since they exist."""

    def stopListening(self) -> "Deferred[None]":
        """Close the sockets; fires when they are closed. Connections there are go on."""
        self._stopped = True
        closed = gatherResults([maybeDeferred(port.stopListening) for port in self._ports], consumeErrors=True)
        return closed.addCallback(lambda _: None)

    def getHost(self) -> IAddress:
        """Return the address of the first; the others have the same port."""
        return self._ports[0].getHost()

    def pause(self) -> None:
        """Leave what connects to the kernel, or to others with the same sockets."""
        if not self._paused and not self._stopped:
            self._paused = True
            for port in self._ports:
                cast(FileDescriptor, port).stopReading()

    def resume(self) -> None:
        """Take what connects, and what waits."""
        if self._paused and not self._stopped:
            self._paused = False
            for port in self._ports:
                cast(FileDescriptor, port).startReading()


@implementer(INetwork)
class SocketNetwork:
    """The network of this machine, on this reactor; `inherited` are the listening sockets of each address.

    Where they are given nothing is bound; they are this network's, which closes each when its port is stopped.
    """

    def __init__(self, reactor: IReactor, inherited: Mapping[str, Sequence[socket.socket]] | None = None) -> None:
        self._reactor = reactor
        self._inherited = None if inherited is None else dict(inherited)

    def listen(self, address: str, factory: Factory) -> Ports:
        """Bind and listen at once; InvalidInput names the address and what the kernel says."""
        if self._inherited is not None:
            if address not in self._inherited:
                raise InvalidInput(address, "the supervisor does not listen there")
            sockets = self._inherited.pop(address)
        else:
            sockets = listening(address)
        try:
            return self.adopt(sockets, factory)
        finally:
            for each in sockets:
                each.close()

    def adopt(self, sockets: Sequence[socket.socket], factory: "Factory[Any]") -> Ports:
        """Listen at sockets that are bound; they stay the caller's, open or closed."""
        # Annotated as a ServerFactory, which adds nothing to Factory.
        serving = cast(ServerFactory[Any], factory)
        for each in sockets:
            # What waits may be another process' by the time it is accepted here.
            each.setblocking(False)
        return Ports([self._reactor.adoptStreamPort(each.fileno(), each.family, serving) for each in sockets])

    def dial(
        self, address: str, factory: Factory, timeout_seconds: float, source: str | None = None
    ) -> "Deferred[Protocol]":
        """Connect; fails with ConnectError, of which TimeoutError is one. Cancelling gives up."""
        try:
            endpoint = self._endpoint(address, timeout_seconds, source)
        except ValueError as wrong:
            return fail(error.ConnectError(string=str(wrong)))
        connected = cast("Deferred[Protocol]", endpoint.connect(factory))
        connected.addTimeout(timeout_seconds, self._reactor, _timed_out)
        return connected.addErrback(_as_connect_error)

    def is_ours(self, address: str) -> bool:
        """Tell by binding a socket to the address, where the kernel lets nobody bind to others' (ip_nonlocal_bind)."""
        try:
            family, nobodys = _FAMILIES[ip_address(address).version]
        except ValueError:
            return False
        return _may_bind(family, address) and not _may_bind(family, nobodys)

    def _endpoint(self, address: str, timeout_seconds: float, source: str | None) -> IStreamClientEndpoint:
        where = parse(address)
        bind = (source, 0) if source else None
        if isinstance(where, UnixPath):
            return UNIXClientEndpoint(self._reactor, where.path, timeout_seconds)
        if isIPAddress(where.host):
            return TCP4ClientEndpoint(self._reactor, where.host, where.port, timeout_seconds, bind)
        if isIPv6Address(where.host):
            return TCP6ClientEndpoint(self._reactor, where.host, where.port, timeout_seconds, bind)
        # A name costs a thread, the resolver's.
        return HostnameEndpoint(self._reactor, where.host, where.port, timeout_seconds)


def listening(address: str) -> list[socket.socket]:
    """Return listening sockets for an address, one a family; InvalidInput names it and what the kernel says."""
    try:
        return bound(address)
    except (OSError, ValueError) as wrong:
        raise InvalidInput(address, f"cannot listen there: {_said(wrong)}") from wrong


def bound(address: str) -> list[socket.socket]:
    """Return listening sockets for an address, one a family; OSError or ValueError says why there are none."""
    where = parse(address)
    if isinstance(where, UnixPath):
        raise ValueError("expected host:port, [IPv6 address]:port or :port")
    # A hosts file may name an address twice.
    found = set(socket.getaddrinfo(where.host or None, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, place in sorted(found):
            # Port 0: the first gets one from the kernel, the others the same.
            port = sockets[0].getsockname()[1] if sockets else place[1]
            try:
                sockets.append(_listening(family, (place[0], port, *place[2:])))
            except OSError as wrong:
                if wrong.errno not in _ABSENT or len(found) == 1:
                    raise
    except OSError:
        for each in sockets:
            each.close()
        raise
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, "no address of that name is one of this machine's")
    return sockets


def _may_bind(family: int, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.bind((address, 0))
    except OSError:
        return False
    return True


def _listening(family: int, place: tuple[Any, ...]) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(place)
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def _said(wrong: OSError | ValueError) -> str:
    return wrong.strerror if isinstance(wrong, OSError) and wrong.strerror else str(wrong)


def _timed_out(_result: object, timeout_seconds: float) -> Failure:
    return Failure(error.TimeoutError(f"no connection within {timeout_seconds:g} s"))


def _as_connect_error(failure: Failure) -> Failure:
    if failure.check(error.ConnectError, error.ConnectingCancelledError):
        return failure
    return Failure(error.ConnectError(string=failure.getErrorMessage()))
