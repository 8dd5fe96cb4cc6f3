"""Where a forward-path leads, as a value; `mtad.routing.route` finds it."""

from dataclasses import dataclass

from mtad.model.address import Address
from mtad.model.tenant import Domain, Mailbox


@dataclass(frozen=True, slots=True)
class Place:
    """A mailbox a message goes to, and the lane it waits in."""

    mailbox: Mailbox
    destination: str


@dataclass(frozen=True, slots=True)
class Route:
    """Where `forward_path` leads.

    `domain` is the domain of the forward-path, None when nobody claimed it here. `places` is empty when it leads
    nowhere; `disabled` tells that it would have led to a mailbox that is switched off. `rule` names what decided:
    mailbox, alias, catch-all, none. `dead_ends` are alias targets that lead nowhere, for the timeline.
    """

    forward_path: Address
    domain: Domain | None
    rule: str
    places: tuple[Place, ...] = ()
    disabled: bool = False
    dead_ends: tuple[Address, ...] = ()
