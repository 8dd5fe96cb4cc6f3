"""The hosts that take mail for a domain, as values; `mtad.routing.exchangers` finds them (RFC 5321 §5.1)."""

from dataclasses import dataclass

from mtad.model.outcome import Deferred, Failed


@dataclass(frozen=True, slots=True)
class Host:
    """One host and its addresses, IPv6 and IPv4 as text without brackets, in the order to try; never none."""

    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts of a domain in the order to try; never none. No address is there twice.

    `trouble` tells that the DNS did not say all: the outcome when none of these addresses may be dialled.
    """

    hosts: tuple[Host, ...]
    trouble: Deferred | None = None


@dataclass(frozen=True, slots=True)
class NoRoute:
    """There is no host to try, and this is the outcome for every recipient of the domain."""

    outcome: Deferred | Failed


@dataclass(frozen=True, slots=True)
class OwnNames:
    """What this server is called and reached by: names in lower case, addresses as `ipaddress` prints them."""

    names: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
