"""Host names looked up before libpq would: its own look-up waits, and with it the reactor."""

from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHostResolution, IReactorPluggableNameResolver, IResolutionReceiver
from zope.interface import implementer

from mtad.adapters.postgres.session import Parameters
from mtad.model.errors import Unavailable


async def addressed(reactor: object, parameters: Parameters) -> dict[str, Any]:
    """Return connection parameters in which each host name has its `hostaddr`; Unavailable when one has none.

    `host` and `port` may be lists, as for libpq; a name with several addresses becomes several hosts.
    """
    hosts = str(parameters.get("host", "")).split(",")
    if parameters.get("hostaddr") or not any(_is_name(host) for host in hosts):
        return dict(parameters)
    ports = str(parameters.get("port", "")).split(",")
    places = []
    for place, host in enumerate(hosts):
        port = ports[place] if len(ports) > 1 else ports[0]
        found = await _addresses(reactor, host) if _is_name(host) else [host]
        places += [(host, address if _is_address(address) else "", port) for address in found]
    return {
        **parameters,
        "host": ",".join(host for host, _, _ in places),
        "hostaddr": ",".join(address for _, address, _ in places),
        "port": ",".join(port for _, _, port in places),
    }


def _is_name(host: str) -> bool:
    return bool(host) and not host.startswith(("/", "@")) and not _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _addresses(reactor: object, host: str) -> list[str]:
    found = _Addresses()
    IReactorPluggableNameResolver(reactor).nameResolver.resolveHostName(found, host)
    addresses = await found.complete
    if not addresses:
        raise Unavailable("postgres", f"no address found for host {host}")
    return addresses


@implementer(IResolutionReceiver)
class _Addresses:
    """Gathers the addresses of a look-up."""

    def __init__(self) -> None:
        self.complete: Deferred[list[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Called first."""

    def addressResolved(self, address: IAddress) -> None:
        """Called for each address."""
        if isinstance(address, (IPv4Address, IPv6Address)):
            self._found.append(address.host)

    def resolutionComplete(self) -> None:
        """Called last."""
        self.complete.callback(self._found)
