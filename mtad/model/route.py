"""Where a forward-path leads, as a value; `mtad.routing.route` finds it."""

from dataclasses import dataclass

from mtad.model.address import Address
from mtad.model.tenant import Domain


@dataclass(frozen=True, slots=True)
class Place:
    """An address a message goes to, here or elsewhere, and the lane it waits in."""

    address: Address
    destination: str


@dataclass(frozen=True, slots=True)
class Route:
    """Where `forward_path` leads, and whose message it becomes there: `organisation`'s.

    `domain` is the domain of the forward-path, None when nobody claimed it here. `places` is empty when it leads
    nowhere; `disabled` tells that it would have led to a mailbox that is switched off. `rule` names what decided:
    mailbox, alias, catch-all, remote, none. `dead_ends` are alias targets that lead nowhere, for the timeline. `notify`
    and `orcpt` are what RCPT asked for, as in Recipient.
    """

    forward_path: Address
    domain: Domain | None
    rule: str
    places: tuple[Place, ...] = ()
    organisation: int | None = None
    disabled: bool = False
    dead_ends: tuple[Address, ...] = ()
    notify: str | None = None
    orcpt: str | None = None
