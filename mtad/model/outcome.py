"""How an attempt to deliver ended, and how far its cause reaches (Postfix' smtp_trouble: recipient, message, …).

Unknown means Deferred. `detail` is fit to be shown; the remote's own words are escaped before they get here. Outcomes
of attempts over a network say by `remote` where they were made. `told` is what a sender may hear instead of `detail`,
when that is less: a server's reply alone, or a trouble without whom of ours it concerns.
"""

from dataclasses import dataclass
from enum import Enum


class Scope(Enum):
    """What else the cause of an outcome concerns; OURS is trouble of this server, and says nothing of the other."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    HOST = "host"
    DESTINATION = "destination"
    OURS = "ours"


@dataclass(frozen=True, slots=True)
class Remote:
    """The server of an attempt: what it is called, the address it was dialled at, and what the attempt was told over.

    `tls` is the protocol, such as TLSv1.3, or CLEAR; None when there was no connection. `earlier` tells of servers of
    the same destination that were tried in vain before, each in a line for people. What a `store` takes, a server that
    speaks LMTP, is delivered (RFC 2033 §2); what another takes goes on from there. `behind` is as in NextHop.
    """

    host: str
    address: str
    tls: str | None = None
    earlier: tuple[str, ...] = ()
    store: bool = False
    behind: bool = False


CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The next hop took responsibility for the recipient.

    With `dsn` it took over as well to tell the sender, as far as the sender asked for it (RFC 3461 §5.2.1).
    """

    detail: str
    status: str = "2.0.0"
    remote: Remote | None = None
    dsn: bool = False


@dataclass(frozen=True, slots=True)
class Deferred:
    """Temporary: try again later."""

    detail: str
    scope: Scope
    status: str = "4.0.0"
    remote: Remote | None = None
    told: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """Final: this recipient will not be served."""

    detail: str
    scope: Scope
    status: str = "5.0.0"
    remote: Remote | None = None
    told: str = ""


Outcome = Delivered | Deferred | Failed
