"""Which hold keeps a job back, and which lanes are not to be claimed from (pure; DESIGN §5).

A domain on hold keeps what goes to it and what is sent as it. What an alias leads elsewhere goes elsewhere: it is where
mail goes that counts, not which address it was sent to. A hold with an organisation keeps that one's mail only.
"""

from collections.abc import Iterable, Iterator

from mtad.model.address import Address
from mtad.model.hold import NULL_SENDER, Hold, HoldScope
from mtad.model.identity import print_id
from mtad.model.job import Job, Lane


class Holds:
    """The holds that stand, found by what they keep; asking costs the same however many there are."""

    def __init__(self, holds: Iterable[Hold] = ()) -> None:
        self._by_what: dict[tuple[HoldScope, str | int | None], list[Hold]] = {}
        for hold in holds:
            what = hold.organisation if hold.scope is HoldScope.ORGANISATION else hold.what
            self._by_what.setdefault((hold.scope, what), []).append(hold)

    def of(self, job: Job, now: float) -> Hold | None:
        """Return the hold a job meets at `now` (epoch seconds), the widest when there are several."""
        if not self._by_what:
            return None
        return self._first((*_lane_keys(job.organisation, job.destination), *_job_keys(job)), job.organisation, now)

    def closes(self, lane: Lane, now: float) -> bool:
        """Return whether all that waits in a lane is kept back at `now`."""
        return bool(self._by_what) and (
            self._first(_lane_keys(lane.organisation, lane.destination), lane.organisation, now) is not None
        )

    def _first(self, keys: Iterable[tuple[HoldScope, str | int | None]], organisation: int, now: float) -> Hold | None:
        for key in keys:
            for hold in self._by_what.get(key, ()):
                if hold.organisation in (None, organisation) and (hold.expires_at is None or now < hold.expires_at):
                    return hold
        return None


def _lane_keys(organisation: int, destination: str) -> Iterator[tuple[HoldScope, str | int]]:
    domain = destination.partition(":")[2]
    yield HoldScope.ORGANISATION, organisation
    yield HoldScope.DOMAIN, domain
    yield HoldScope.RECIPIENT_DOMAIN, domain


def _job_keys(job: Job) -> Iterator[tuple[HoldScope, str]]:
    sender: Address | None = job.reverse_path
    if sender is None:
        yield HoldScope.SENDER, NULL_SENDER
    else:
        yield HoldScope.DOMAIN, sender.domain
        yield HoldScope.SENDER, f"*@{sender.domain}"
        yield HoldScope.SENDER, sender.key
    yield HoldScope.MESSAGE, print_id(job.message)
