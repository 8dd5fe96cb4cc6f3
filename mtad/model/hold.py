"""Mail that is kept back: a hold names which, why, who said so, and until when (DESIGN §5).

A hold marks nothing by itself. What is handed over or claimed while it stands becomes held with its id; a lane it
closes is not claimed from at all. What is being delivered when it is placed goes on.
"""

from dataclasses import dataclass
from enum import Enum

CHANNEL = "mtad_holds"
"""Where every change of the holds is news."""

FREED_AT_ONCE = 1_000
HOLDS_KEPT_SECONDS = 30 * 86_400.0
"""How long a hold is remembered that is over: rows that waited behind it live longer by the time it stood."""

NULL_SENDER = "<>"
"""The `what` of a hold of mail without a reverse-path."""


class HoldScope(Enum):
    """What mail a hold keeps, by what its `what` says."""

    ORGANISATION = "organisation"
    """All of an organisation's; its name."""

    DOMAIN = "domain"
    """Mail for a domain, and mail sent as it; its A-label."""

    SENDER = "sender"
    """Mail with a reverse-path: `Address.key`, `*@` and a domain, or NULL_SENDER."""

    RECIPIENT_DOMAIN = "recipient-domain"
    """Mail that goes to a domain; its A-label."""

    MESSAGE = "message"
    """One message; its printed id."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that stands. Times are epoch seconds; `expires_at` None: until somebody releases it.

    `organisation` is whose mail it keeps, None for everybody's. `id` is 0 until it is placed.
    """

    scope: HoldScope
    what: str
    reason: str
    held_by: str
    created_at: float
    organisation: int | None = None
    expires_at: float | None = None
    id: int = 0
