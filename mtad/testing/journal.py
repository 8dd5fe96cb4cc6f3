"""The journal's twin: keeps what was recorded, and is strict where the real one is forgiving.

The real journal never raises: a wrong event must not cost a message. Here a name or a fact the table does not know is
an AssertionError, and is kept in `wrongs` as well, since flows catch what they do not expect.
"""

from dataclasses import dataclass

from zope.interface import implementer

from mtad.interfaces import IJournal
from mtad.model.event import Fact
from mtad.model.journal import wrong_with


@dataclass(frozen=True, slots=True)
class Record:
    """One event and its facts."""

    event: str
    facts: dict[str, Fact]


@implementer(IJournal)
class MemoryJournal:
    """`records` are in the order they came; `wrongs` says what did not fit the table."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.wrongs: list[str] = []

    def record(self, event: str, **facts: Fact) -> None:
        """Keep the event; AssertionError when `mtad.model.journal` does not know it so."""
        self.records.append(Record(event, facts))
        wrong = wrong_with(event, facts)
        if wrong is not None:
            self.wrongs.append(wrong)
            raise AssertionError(wrong)

    def of(self, event: str) -> list[dict[str, Fact]]:
        """Return the facts of every record of that event, oldest first."""
        return [record.facts for record in self.records if record.event == event]
