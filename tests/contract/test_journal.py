"""IJournal: every event of the table can be recorded, by the real journal and by the twin."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mtad.adapters.metrics import Journal
from mtad.interfaces import IJournal
from mtad.model.event import Fact
from mtad.model.journal import EVENTS, METRICS, FirstMet
from mtad.testing.journal import MemoryJournal


def example(event: str) -> dict[str, Fact]:
    """Return facts that fit an event: numbers for what counts, a declared value for what labels."""
    facts: dict[str, Fact] = dict.fromkeys(EVENTS[event].facts, "shown")
    for update in EVENTS[event].updates:
        if isinstance(update.amount, str):
            facts[update.amount] = 3
        for label, source in update.labels.items():
            if not source.startswith("="):
                values = METRICS[update.metric].labels[label]
                facts[source] = "anything" if isinstance(values, FirstMet) else min(values)
    return facts


class JournalContract:
    """Subclasses give `self.journal`."""

    journal: IJournal

    def test_provides_the_port(self) -> None:
        verifyObject(IJournal, self.journal)

    def test_every_event_of_the_table_can_be_recorded(self) -> None:
        for event in EVENTS:
            self.assertIsNone(self.journal.record(event, **example(event)))

    def test_further_facts_are_welcome(self) -> None:
        self.journal.record("service.started", version="0.1.0", processes=1, networks=["127.0.0.0/8"], note=None)


class RealJournalTest(JournalContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.journal = Journal()

    def tearDown(self) -> None:
        self.assertEqual(self.flushLoggedErrors(), [])


class MemoryJournalTest(JournalContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.journal = MemoryJournal()

    def test_what_was_recorded_can_be_looked_at(self) -> None:
        self.journal.record("queue.claimed", count=2)
        self.journal.record("service.started")
        self.journal.record("queue.claimed", count=3)
        self.assertEqual(self.journal.of("queue.claimed"), [{"count": 2}, {"count": 3}])
        self.assertEqual([record.event for record in self.journal.records][1], "service.started")

    def test_what_does_not_fit_the_table_is_an_error_and_is_kept(self) -> None:
        wrongs: list[tuple[str, dict[str, Fact], str]] = [
            ("smtp.conected", {}, "not in"),
            ("queue.claimed", {}, "lacks count"),
            ("queue.claimed", {"count": "two"}, "must be a number"),
            ("smtp.rejected", {"stage": "rcpt", "reason": "novel", "reply": "", "peer": ""}, "no value of label"),
        ]
        for event, facts, words in wrongs:
            wrong = self.assertRaises(AssertionError, self.journal.record, event, **facts)
            self.assertIn(words, str(wrong))
        self.assertEqual(len(self.journal.wrongs), 4)
