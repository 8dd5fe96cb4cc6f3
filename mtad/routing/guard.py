"""The guard of private addresses: where mail may go when the DNS, and so anybody, says where it goes.

A domain's MX may name any address. Without a guard its owner could make this server talk to what only it can reach: the
services of its own machine and networks, the metadata server of a cloud. What is refused are addresses that no
stranger's mail server has on the public Internet, and those that carry an IPv4 address inside, which would be a way
round: the special-purpose addresses that IANA calls not globally reachable, but for those of documentation, where
nothing is. Addresses that an operator wrote are none of this module's business.
"""

from collections.abc import Container
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

_NETWORKS = (
    ("unspecified", "0.0.0.0/8"),  # RFC 1122 §3.2.1.3
    ("private", "10.0.0.0/8"),  # RFC 1918 §3
    ("shared", "100.64.0.0/10"),  # carrier-grade NAT, RFC 6598 §7
    ("loopback", "127.0.0.0/8"),  # RFC 1122 §3.2.1.3
    ("link-local", "169.254.0.0/16"),  # RFC 3927 §2.1
    ("private", "172.16.0.0/12"),
    ("protocol assignment", "192.0.0.0/24"),  # RFC 6890 §2.1
    ("6to4 relay", "192.88.99.0/24"),  # RFC 7526 §4
    ("private", "192.168.0.0/16"),
    ("benchmarking", "198.18.0.0/15"),  # RFC 2544 §C.2.2
    ("multicast", "224.0.0.0/4"),  # RFC 5771 §3
    ("reserved", "240.0.0.0/4"),  # RFC 1112 §4, with the broadcast address
    ("unspecified", "::/128"),  # RFC 4291 §2.5.2
    ("loopback", "::1/128"),  # RFC 4291 §2.5.3
    ("IPv4-compatible", "::/96"),  # RFC 4291 §2.5.5.1
    ("IPv4-mapped", "::ffff:0:0/96"),  # RFC 4291 §2.5.5.2
    ("IPv4-translated", "::ffff:0:0:0/96"),  # RFC 2765 §2.1
    ("NAT64", "64:ff9b::/96"),  # RFC 6052 §2.1
    ("NAT64", "64:ff9b:1::/48"),  # RFC 8215 §5
    ("discard-only", "100::/64"),  # RFC 6666 §1
    ("Teredo", "2001::/32"),  # RFC 4380 §2.6
    ("protocol assignment", "2001::/23"),  # RFC 2928 §2: benchmarking, ORCHID and others, where nobody takes mail
    ("6to4", "2002::/16"),  # RFC 3056 §2
    ("segment routing", "5f00::/16"),  # RFC 9602 §5
    ("private", "fc00::/7"),  # RFC 4193 §3.1
    ("link-local", "fe80::/10"),  # RFC 4291 §2.5.6
    ("site-local", "fec0::/10"),  # RFC 3879 §4
    ("multicast", "ff00::/8"),  # RFC 4291 §2.7
)
_REFUSED: tuple[tuple[str, IPv4Network | IPv6Network], ...] = tuple(
    (kind, ip_network(network)) for kind, network in _NETWORKS
)


def refusal(address: str, own: Container[str]) -> str | None:
    """Return why an address learned from the DNS is not to be dialled, in a word or two; None when it may be.

    `own` are addresses of this server, as `ipaddress` prints them. What is no address is refused too.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return "no address"
    if str(found) in own:
        return "this server's own"
    return next((kind for kind, network in _REFUSED if found in network), None)
