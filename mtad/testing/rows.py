"""A row of the queue as the twins hold it."""

from dataclasses import dataclass

from mtad.model.envelope import Recipient
from mtad.model.job import Lane, Status


@dataclass(slots=True)
class QueueRow:
    """A row of `message_queue`."""

    message: int
    organisation: int
    recipient: Recipient
    status: Status
    claim: int
    due: float
    expires_at: float
    owner: int | None
    attempts: int = 0
    taken_over: int = 0
    noticed: bool = False
    hold: int | None = None

    def free(self, due: float) -> None:
        """Queue the row again, owned by nobody."""
        self.status, self.owner, self.due = Status.QUEUED, None, due

    @property
    def lane(self) -> Lane:
        """Where the row waits."""
        return Lane(self.organisation, self.recipient.destination)
