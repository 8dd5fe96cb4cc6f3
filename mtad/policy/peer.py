"""What the address of a peer says: which networks it is in, and with whom it counts as one."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


@lru_cache(maxsize=4096)  # a session asks several times of its peer, and peers come again
def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address of a peer, an IPv4 one in IPv6's clothes (RFC 4291 §2.5.5.2) as IPv4; None for a socket."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def within(host: str, networks: Iterable[Network]) -> bool:
    """Return whether a peer at this address is in one of the networks."""
    address = address_of(host)
    return address is not None and any(address in network for network in networks)


def one_peer(host: str) -> str:
    """Return what peers at this address count as together: an IPv4 address, an IPv6 network of 64 bits, or all sockets.

    Whoever has one address of such a network has them all (RFC 4291 §2.5.1).
    """
    address = address_of(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return host if address is None else str(address)
