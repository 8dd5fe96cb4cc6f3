"""The HTTP site: `/health`, `/ready`, `/metrics`, for the networks an operator named and nobody else.

A client from outside gets 403 for whatever it asks, and not a hint of what there is. Bodies are of no use here and cut
short. There is no access log: probes and scrapes are no news.
"""

from collections.abc import Callable, Collection
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from mtad.web.answer import OUTSIDER, Page
from mtad.web.health import Health
from mtad.web.metrics import Exposition, Metrics
from mtad.web.ready import Readiness, Ready

IDLE_SECONDS = 60
MAX_BODY_OCTETS = 4096

Networks = Collection[IPv4Network | IPv6Network]


class BoundedRequest(Request):
    """A request whose body cannot fill the memory or the disk."""

    _body_octets = 0

    def handleContentChunk(self, data: bytes) -> None:
        """Forget the body; hang up on more of it than any client of ours has reason to send."""
        self._body_octets += len(data)
        if self._body_octets > MAX_BODY_OCTETS:
            self.loseConnection()


class GuardedSite(Site):
    """A site for some networks only, without an access log."""

    noisy = False
    requestFactory = BoundedRequest

    def __init__(self, root: Resource, networks: Networks, clock: IReactorTime) -> None:
        super().__init__(root, timeout=IDLE_SECONDS, reactor=clock, parsePOSTFormSubmission=False)
        self._networks = networks

    def admit(self, networks: Networks) -> None:
        """Let these networks ask from now on, and no others."""
        self._networks = networks

    def startFactory(self) -> None:
        """Start nothing: Twisted would tick every second for the dates of its access log."""

    def stopFactory(self) -> None:
        """Stop nothing."""

    def log(self, request: HttpRequest) -> None:
        """Log nothing."""

    def getResourceFor(self, request: Request) -> Resource:
        """Return the page asked for, or what outsiders get."""
        return super().getResourceFor(request) if self._admits(request) else OUTSIDER

    def _admits(self, request: Request) -> bool:
        peer = request.getClientAddress()
        if isinstance(peer, UNIXAddress):
            return True
        address = ip_address(peer.host.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


def site(
    *,
    readiness: "Callable[[], Deferred[Readiness]]",
    exposition: Exposition,
    networks: Networks,
    clock: IReactorTime,
) -> GuardedSite:
    """Return the site. `networks` is who may ask at all."""
    root = Page()
    root.putChild(b"health", Health())
    root.putChild(b"ready", Ready(readiness))
    root.putChild(b"metrics", Metrics(exposition))
    return GuardedSite(root, networks, clock)
