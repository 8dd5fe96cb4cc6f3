"""Routing: looks up what `mtad.routing.route` asks for until it has a route.

The server's own postmaster is reached whatever is hosted here (RFC 5321 §4.5.1): as an alias of `postmaster`.
"""

from dataclasses import replace

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from mtad.interfaces import IDirectory
from mtad.model.address import Address
from mtad.model.route import Route
from mtad.model.tenant import Entry
from mtad.routing.route import Needs, step


class RoutingService(Service):
    """Finds where forward-paths lead. `postmaster` is who reads mail to postmaster@`hostname`, if anybody."""

    name = "routing"

    def __init__(self, *, directory: IDirectory, hostname: str, postmaster: Address | None) -> None:
        self._directory = directory
        self._postmaster_key = Address("postmaster", hostname).key
        self._postmaster = postmaster

    def route(self, forward_path: Address) -> Deferred[Route]:
        """Fire with the route of a forward-path; fail with Unavailable when the directory does not answer."""
        return Deferred.fromCoroutine(self._route(forward_path))

    async def _route(self, forward_path: Address) -> Route:
        if self._postmaster is not None and forward_path.key == self._postmaster_key:
            return replace(await self._walk(self._postmaster), forward_path=forward_path, rule="postmaster")
        return await self._walk(forward_path)

    async def _walk(self, forward_path: Address) -> Route:
        known: dict[Address, Entry] = {}
        while True:
            found = step(forward_path, known)
            if not isinstance(found, Needs):
                return found
            lookups = [(address, Deferred.fromCoroutine(self._directory.entry(address))) for address in found.addresses]
            for address, lookup in lookups:
                known[address] = await lookup
