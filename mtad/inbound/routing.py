"""Routing: looks up what `mtad.routing.route` asks for until it has a route.

There is a postmaster in every domain served (RFC 5321 §4.5.1): where a domain has none of its own, and at the server's
own name, the address is an alias of the server's `postmaster`.
"""

from dataclasses import replace

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from mtad.interfaces import IDirectory
from mtad.model.address import Address
from mtad.model.route import Route
from mtad.routing.route import Needs, step, submitted


class RoutingService(Service):
    """Finds where forward-paths lead. `postmaster` is who reads mail to the postmasters of the server, if anybody."""

    name = "routing"

    def __init__(self, *, directory: IDirectory, hostname: str, postmaster: Address | None) -> None:
        self._directory = directory
        self._postmaster_key = Address("postmaster", hostname).key
        self._postmaster = postmaster

    async def route_submission(self, forward_path: Address, organisation: int) -> Route:
        """Return the route of a forward-path that organisation submits to; raises what `route` does."""
        return submitted(await self.route(forward_path), organisation)

    async def route(self, forward_path: Address) -> Route:
        """Return the route of a forward-path; raises Unavailable when the directory does not answer."""
        if forward_path.key == self._postmaster_key:
            return await self._to_postmaster(forward_path) or await self._walk(forward_path)
        route = await self._walk(forward_path)
        if route.organisation is not None and route.rule == "none" and forward_path.key.startswith("postmaster@"):
            return await self._to_postmaster(forward_path) or route
        return route

    async def _to_postmaster(self, forward_path: Address) -> Route | None:
        """Return the route to who reads the postmasters' mail, None when that is nobody here."""
        if self._postmaster is None:
            return None
        route = await self._walk(self._postmaster)
        return replace(route, forward_path=forward_path, rule="postmaster") if route.places else None

    async def _walk(self, forward_path: Address) -> Route:
        # Its own entry is needed whatever that says, and often nothing else.
        known = {forward_path: await self._directory.entry(forward_path)}
        while True:
            found = step(forward_path, known)
            if not isinstance(found, Needs):
                return found
            lookups = [(address, Deferred.fromCoroutine(self._directory.entry(address))) for address in found.addresses]
            for address, lookup in lookups:
                known[address] = await lookup
