"""The listening sockets of a server, held as long as any plan wants them.

They are bound once and never shut while there is somebody to serve them, so whoever connects during a reload waits in
the kernel's queue and is not refused.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from socket import socket


class Sockets:
    """Sockets by address; `bind` makes those of an address, and raises InvalidInput when it cannot."""

    def __init__(self, bind: Callable[[str], list[socket]]) -> None:
        self._bind = bind
        self._held: dict[str, list[socket]] = {}

    def hold(self, addresses: Iterable[str]) -> None:
        """Bind what is not held yet; when one cannot be, none is bound that was not."""
        before = set(self._held)
        try:
            for address in addresses:
                if address not in self._held:
                    self._held[address] = self._bind(address)
        except BaseException:
            self.keep(before)
            raise

    def keep(self, addresses: Collection[str]) -> None:
        """Close those of all other addresses."""
        for address in self._held.keys() - set(addresses):
            for each in self._held.pop(address):
                each.close()

    def at(self, addresses: Iterable[str]) -> Mapping[str, list[socket]]:
        """Return the sockets of addresses that are held."""
        return {address: self._held[address] for address in addresses}

    def close(self) -> None:
        """Close all."""
        self.keep(())
