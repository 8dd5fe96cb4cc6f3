"""How an attempt to deliver ended, and how far its cause reaches (Postfix' smtp_trouble: recipient, message, …).

Unknown means Deferred. `detail` is fit to be shown; the remote's own words are escaped before they get here.
"""

from dataclasses import dataclass
from enum import Enum


class Scope(Enum):
    """What else the cause of an outcome concerns."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    HOST = "host"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The next hop took responsibility for the recipient."""

    detail: str
    status: str = "2.0.0"


@dataclass(frozen=True, slots=True)
class Deferred:
    """Temporary: try again later."""

    detail: str
    scope: Scope
    status: str = "4.0.0"


@dataclass(frozen=True, slots=True)
class Failed:
    """Final: this recipient will not be served."""

    detail: str
    scope: Scope
    status: str = "5.0.0"


Outcome = Delivered | Deferred | Failed
