"""What the queue takes in and gives out (DESIGN §5, D6-D8)."""

from dataclasses import dataclass
from enum import Enum

from mtad.model.address import Address
from mtad.model.content import Content
from mtad.model.envelope import PLAIN, Parameters, Recipient
from mtad.model.event import Event
from mtad.model.outcome import Delivered, Outcome
from mtad.model.report import Action

CHUNK_OCTETS = 256 * 1024
TAKEOVERS_UNTIL_HELD = 3
LANES_VISITED = 1_000
# Of a destination, which is a word and a domain of at most 255; an index holds no more than about 2 700.
DESTINATION_OCTETS = 300


class Status(Enum):
    """Of a queue row. A finished row leaves the table."""

    QUEUED = "queued"
    DELIVERING = "delivering"
    HELD = "held"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Message:
    """One `messages` row: an envelope of one organisation over a content.

    Times are epoch seconds. `keys` are the strings a search may find it by (addresses, Message-ID, peer); only
    their hashes are stored. `copies` counts the messages that were accepted with the same content. `quarantined` are
    the n of recipients that get it only once somebody released it. One without recipients is there for its story; its
    content is none.
    """

    id: int
    organisation: int
    direction: str
    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    content_id: int
    size: int
    received_at: float
    expires_at: float
    copies: int = 1
    keys: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    parameters: Parameters = PLAIN
    quarantined: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What one `250` promises: a content and the messages (one an organisation) that carry it.

    `sound_octets` at the content's end are as they were when its session found them sound (`mtad.smtp.soundness`).
    """

    content_id: int
    content: Content
    messages: tuple[Message, ...]
    sound_octets: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """The key of a queue row and the fence it was taken under."""

    message: int
    n: int
    claim: int


@dataclass(frozen=True, slots=True)
class Target:
    """One recipient of a job: its row's claim, how often it was tried, and when it is given up (epoch seconds).

    `noticed` tells that its sender was told already that it is late.
    """

    recipient: Recipient
    claim: int
    attempts: int
    expires_at: float
    noticed: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """Work this process owns: recipients of one message that wait in one lane.

    `total` is the message's recipient count at acceptance, `copies` as in Message. `content` is None when it must
    be read from the queue; of one that never left memory, `sound_octets` as in Acceptance.
    """

    message: int
    organisation: int
    destination: str
    reverse_path: Address | None
    content_id: int
    size: int
    received_at: float
    total: int
    copies: int
    targets: tuple[Target, ...]
    content: Content | None = None
    parameters: Parameters = PLAIN
    sound_octets: int = 0

    def rows(self) -> tuple[Row, ...]:
        """Return the keys of the job's rows."""
        return tuple(Row(self.message, target.recipient.n, target.claim) for target in self.targets)


@dataclass(frozen=True, slots=True)
class Lane:
    """Where rows wait their turn."""

    organisation: int
    destination: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Lanes that have a due row, and the lane behind which to look for more; None when the last one was seen."""

    lanes: tuple[Lane, ...]
    after: Lane | None = None


class Disposal(Enum):
    """What becomes of a row when it is settled; UNTRIED is AGAIN without an attempt that counts."""

    GONE = "gone"
    AGAIN = "again"
    UNTRIED = "untried"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Result:
    """How one row ended this time. `due` (epoch seconds) matters for AGAIN and UNTRIED; why one is held its event says.

    `reason` says in plain words why a row is GONE that was not delivered; `noticed` that the settlement has a report
    which tells that this one is late. `hold` is the id of the hold that a row is HELD by, 0 for none: it was not tried,
    and is held since `due`.
    """

    n: int
    claim: int
    outcome: Outcome
    disposal: Disposal
    due: float = 0.0
    reason: str = ""
    noticed: bool = False
    hold: int = 0

    @property
    def undelivered(self) -> bool:
        """Whether the row goes and its recipient was not served."""
        return self.disposal is Disposal.GONE and not isinstance(self.outcome, Delivered)


@dataclass(frozen=True, slots=True)
class Told:
    """A report to the sender (RFC 3464), a message like any other, that says `action` of the rows `rows` by their n."""

    report: Acceptance
    action: Action
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """The results of one job, written in one transaction together with its events and reports."""

    message: int
    organisation: int
    total: int
    copies: int
    results: tuple[Result, ...]
    events: tuple[Event, ...]
    reports: tuple[Told, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing of the message and its content is left afterwards, seen without asking the database."""
        return (
            self.copies == 1
            and len(self.results) == self.total
            and all(result.disposal is Disposal.GONE for result in self.results)
        )


@dataclass(frozen=True, slots=True)
class Node:
    """A process' membership: the owner number of its rows, the slot of its ids, and the last id that slot issued."""

    owner: int
    slot: int
    last_id: int


@dataclass(frozen=True, slots=True)
class RowState:
    """A queue row as people look at it; `owner` 0 when nobody has it."""

    recipient: Recipient
    status: Status
    attempts: int
    due: float
    expires_at: float
    owner: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that has rows, as people look at it."""

    message: int
    organisation: int
    reverse_path: Address | None
    size: int
    received_at: float
    rows: tuple[RowState, ...]
