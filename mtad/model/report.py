"""What senders are told of their messages (RFC 3464) and what they ask to be told (RFC 3461 §4.1), as values.

`mtad.message.dsn` makes a message of a Report.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from mtad.model.address import Address


class Action(Enum):
    """What became of a recipient; the value is that of the field Action (RFC 3464 §2.3.3).

    RELAYED: to a server that reports no deliveries. EXPANDED: to the several recipients that an alias stands for.
    """

    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"
    DELAYED = "delayed"
    FAILED = "failed"


_UNASKED = ("FAILURE", "DELAY")
_KEYWORDS = {Action.FAILED: "FAILURE", Action.DELAYED: "DELAY"}
_SUCCESS = "SUCCESS"
_ASKED = {_SUCCESS: Action.DELIVERED, "FAILURE": Action.FAILED, "DELAY": Action.DELAYED}


def asks(notify: str | None, action: Action) -> bool:
    """Return whether a NOTIFY (as in Recipient) wants a report of that; without one trouble is told (RFC 3461 §4.1)."""
    keywords = _UNASKED if notify is None else notify.split(",")
    return _KEYWORDS.get(action, _SUCCESS) in keywords


def behind_alias(notify: str | None) -> str | None:
    """Return the NOTIFY of each of several recipients that an alias leads to (RFC 3461 §5.2.7.3, way c).

    Success was told when the alias was expanded; who asked for nothing else is told nothing else.
    """
    if notify is None or _SUCCESS not in notify:
        return notify
    return ",".join(keyword for keyword in notify.split(",") if keyword != _SUCCESS) or "NEVER"


def together(notify: str | None, others: Iterable[str | None]) -> str | None:
    """Return the NOTIFY of the one copy for a recipient's NOTIFY and those of others it stands for: all that any wants.

    It comes back as it is where the others want nothing more.
    """
    every = (notify, *others)
    wanted = [keyword for keyword, action in _ASKED.items() if any(asks(each, action) for each in every)]
    return notify if all(asks(notify, _ASKED[keyword]) for keyword in wanted) else ",".join(wanted)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one recipient.

    `recipient` is the forward-path as it was accepted, never where an alias led (RFC 3464 §2.3.2), `orcpt` what the
    sender called it, as in Recipient. `status` is a code of RFC 3463, of class 4 when only time or tries ran out.
    `reason` says in plain words what happened, `diagnostic` (empty when there is nothing to tell) what the last
    attempt, made at `attempted_at` (epoch seconds; None when none led to this), met at `remote_host`. If it is still
    being tried, then until `retry_until`.
    """

    recipient: Address
    status: str
    reason: str
    diagnostic: str
    attempted_at: float | None
    remote_host: str | None = None
    orcpt: str | None = None
    retry_until: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One report to `sender` about the message `original_id`, which arrived at `arrived_at` (epoch seconds).

    `action` is what became of all its `fates`. Ids are printed ones. `original_headers` is the original's header block
    as it came, or as much as is known of it; `original` the whole, where all of it is returned; `smtputf8` tells that
    it needed RFC 6531. `envid` is the sender's own name for it, as in Parameters.
    """

    id: str
    reporting_host: str
    sender: Address
    original_id: str
    arrived_at: float
    written_at: float
    fates: tuple[Fate, ...]
    original_headers: bytes = b""
    action: Action = Action.FAILED
    original: bytes | None = None
    smtputf8: bool = False
    envid: str | None = None
