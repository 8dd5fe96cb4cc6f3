"""Recipients as the client takes them."""

from mtad.model.address import Address
from mtad.model.envelope import Recipient


def to(*addresses: Address, notify: str | None = None, orcpt: str | None = None) -> tuple[Recipient, ...]:
    """Return recipients that lead nowhere else, each of whom wants to be told alike."""
    return tuple(
        Recipient(n, address, address, f"mx:{address.domain}", notify, orcpt) for n, address in enumerate(addresses)
    )
