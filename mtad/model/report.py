"""What a report of failed delivery says (RFC 3464), as values; `mtad.message.dsn` makes a message of them."""

from dataclasses import dataclass

from mtad.model.address import Address


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A recipient that will not be served.

    `recipient` is the forward-path as it was accepted, never where an alias led (RFC 3464 §2.3.2). `status` is a code
    of RFC 3463, of class 4 when only time or tries ran out. `reason` says in plain words why it is over, `diagnostic`
    (empty when there is nothing to tell) what the last attempt, made at `attempted_at` (epoch seconds; None when none
    ended it), met at `remote_host`.
    """

    recipient: Address
    status: str
    reason: str
    diagnostic: str
    attempted_at: float | None
    remote_host: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One report to `sender` about the message `original_id`, which arrived at `arrived_at` (epoch seconds).

    Ids are printed ones, `original_headers` the original's header block as it came, or as much as is known of it.
    """

    id: str
    reporting_host: str
    sender: Address
    original_id: str
    arrived_at: float
    written_at: float
    undelivered: tuple[Undelivered, ...]
    original_headers: bytes = b""
