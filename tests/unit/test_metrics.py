"""The real journal: what it counts, what it logs, and that nothing gets it down."""

from prometheus_client.parser import text_string_to_metric_families
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.metrics import Journal
from mtad.model.event import Fact
from mtad.model.journal import METRICS, Level


class JournalTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[tuple[Level, str, dict[str, Fact]]] = []
        self.journal = Journal(lambda level, event, facts: self.lines.append((level, event, dict(facts))))

    def value(self, sample: str, **labels: str) -> float | None:
        """Return a sample as a scraper reads it, None when it is not there."""
        for family in text_string_to_metric_families(self.journal.exposition().decode()):
            for found in family.samples:
                if found.name == sample and found.labels == labels:
                    return found.value
        return None

    def accept(self, **facts: Fact) -> None:
        usual: dict[str, Fact] = {
            "id": "1", "organisation": 1, "reverse_path": "<>", "recipients": 2, "size": 5000, "peer": "192.0.2.7"
        }  # fmt: skip
        self.journal.record("smtp.accepted", **{**usual, **facts})

    def reject(self, stage: str, reason: str) -> None:
        self.journal.record("smtp.rejected", stage=stage, reason=reason, reply="550 5.1.1 No", peer="192.0.2.7")

    def test_counters_count(self) -> None:
        self.accept()
        self.accept(recipients=3)
        self.assertEqual(self.value("smtp_messages_received_total"), 2)
        self.assertEqual(self.value("smtp_recipients_received_total"), 5)

    def test_gauges_go_up_and_down_and_can_be_set(self) -> None:
        for _ in range(3):
            self.journal.record("smtp.connected", peer="192.0.2.7", port="smtp")
        self.journal.record("smtp.disconnected", peer="192.0.2.7", port="smtp", seconds=1.5)
        self.assertEqual(self.value("smtp_connections_active"), 2)
        self.assertEqual(self.value("smtp_connections_total"), 3)
        self.journal.record("queue.memory", jobs=7, octets=9000)
        self.journal.record("queue.memory", jobs=4, octets=100)
        self.assertEqual(self.value("queue_in_memory_jobs"), 4)
        self.assertEqual(self.value("queue_in_memory_bytes"), 100)

    def test_histograms_spread(self) -> None:
        self.accept(size=5000)
        self.accept(size=2_000_000)
        self.assertEqual(self.value("smtp_message_size_bytes_count"), 2)
        self.assertEqual(self.value("smtp_message_size_bytes_sum"), 2_005_000)
        self.assertEqual(self.value("smtp_message_size_bytes_bucket", le="16384.0"), 1)
        self.assertEqual(self.value("smtp_message_size_bytes_bucket", le="4096.0"), 0)

    def test_labels_come_from_facts_or_are_fixed(self) -> None:
        self.reject("rcpt", "no-such-user")
        self.reject("rcpt", "no-such-user")
        self.reject("message", "routing-loop")
        self.assertEqual(self.value("smtp_messages_rejected_total", stage="rcpt", reason="no-such-user"), 2)
        self.assertEqual(self.value("smtp_messages_rejected_total", stage="message", reason="routing-loop"), 1)
        self.journal.record("delivery.deferred", id="1", n=0, recipient="a@b.example", kind="lmtp", detail="busy")
        self.assertEqual(self.value("delivery_attempts_total", kind="lmtp", outcome="deferred"), 1)

    def test_no_peer_can_make_it_grow(self) -> None:
        self.reject("rcpt", "first")
        size = len(self.journal.exposition().splitlines())
        for number in range(100):
            self.reject(f"stage {number}", f"reason {number}")
            self.reject("rcpt", f"reason {number}")
        self.assertEqual(self.value("smtp_messages_rejected_total", stage="rcpt", reason="other"), 101)
        self.assertEqual(self.value("smtp_messages_rejected_total", stage="other", reason="other"), 100)
        self.assertEqual(len(self.journal.exposition().splitlines()), size + 1)

    def test_as_many_domains_as_allowed_have_series_of_their_own(self) -> None:
        journal = self.journal = Journal(lambda *_: None, max_domains=2)
        for domain in ("a.example", "b.example", "c.example", "a.example", "d.example"):
            journal.record("delivery.attempted", id="1", domain=domain, real=True, type="remote", seconds=2.0, sent=1)
        counts = {
            domain: self.value("smtp_delivery_duration_seconds_count", domain=domain, type="remote")
            for domain in ("a.example", "b.example", "c.example", "other")
        }
        self.assertEqual(counts, {"a.example": 2, "b.example": 1, "c.example": None, "other": 2})
        self.assertEqual(self.value("smtp_messages_sent_total", type="remote"), 5)

    def test_a_domain_that_is_not_real_takes_no_room(self) -> None:
        journal = self.journal = Journal(lambda *_: None, max_domains=1)
        for domain, real in (("typo.example", False), ("a.example", False), ("a.example", True), ("a.example", False)):
            journal.record("delivery.attempted", id="1", domain=domain, real=real, type="remote", seconds=2.0, sent=1)
        counts = [
            self.value("smtp_delivery_duration_seconds_count", domain=domain, type="remote")
            for domain in ("typo.example", "a.example", "other")
        ]
        self.assertEqual(counts, [None, 2, 2])

    def test_without_room_for_domains_all_are_others(self) -> None:
        journal = self.journal = Journal(lambda *_: None, max_domains=0)
        journal.record("delivery.attempted", id="1", domain="a.example", real=True, type="smtp", seconds=2.0, sent=0)
        self.assertEqual(self.value("smtp_delivery_duration_seconds_count", domain="other", type="smtp"), 1)
        self.assertEqual(self.value("smtp_messages_sent_total", type="smtp"), 0)

    def test_every_metric_is_exposed_with_help_from_the_start(self) -> None:
        exposition = self.journal.exposition().decode()
        for metric in METRICS.values():
            self.assertIn(f"# HELP {metric.name} {metric.help}", exposition)
        self.assertEqual(self.value("smtp_messages_received_total"), 0)

    def test_the_process_is_in_it_and_two_journals_do_not_mix(self) -> None:
        self.assertIsNotNone(self.value("process_open_fds"))
        self.assertIsNotNone(self.value("process_resident_memory_bytes"))
        Journal(lambda *_: None).record("queue.claimed", count=1)
        self.assertEqual(self.value("queue_claimed_rows_total"), 0)

    def test_events_are_logged_at_their_level(self) -> None:
        self.reject("rcpt", "no-such-user")
        self.assertEqual(
            self.lines,
            [
                (
                    Level.INFO,
                    "smtp.rejected",
                    {"stage": "rcpt", "reason": "no-such-user", "reply": "550 5.1.1 No", "peer": "192.0.2.7"},
                )
            ],
        )

    def test_what_is_quieter_than_wanted_is_only_counted(self) -> None:
        self.journal.record("smtp.connected", peer="192.0.2.7", port="smtp")
        self.journal.record("queue.accepted", seconds=0.01)
        self.assertEqual(self.lines, [])
        louder = Journal(lambda level, event, facts: self.lines.append((level, event, dict(facts))), least=Level.DEBUG)
        louder.record("smtp.connected", peer="192.0.2.7", port="smtp")
        louder.record("queue.accepted", seconds=0.01)
        self.assertEqual([event for _, event, _ in self.lines], ["smtp.connected"])

    def test_nothing_that_is_wrong_with_an_event_is_the_callers_trouble(self) -> None:
        self.journal.record("no.such.event", anything="goes")
        self.journal.record("queue.claimed")
        self.journal.record("queue.claimed", count="two")
        self.journal.record("smtp.rejected", stage=["a"], reason=None, reply="", peer="")
        self.assertEqual(len(self.flushLoggedErrors()), 4)

    def test_a_broken_log_is_not_the_callers_trouble(self) -> None:
        def broken(*_: object) -> None:
            raise OSError("no space left on device")

        journal = Journal(broken)
        journal.record("service.started")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class TwistedLogTest(SynchronousTestCase):
    """Without another sink events go to twisted.logger."""

    def test_an_event_keeps_its_name_and_its_facts(self) -> None:
        events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        Journal().record("node.joined", owner=5, slot=2)
        (event,) = [event for event in events if event.get("mtad_event") == "node.joined"]
        self.assertEqual(event["mtad_facts"], {"owner": 5, "slot": 2})
        self.assertEqual(event["log_namespace"], "mtad")
        self.assertEqual(event["log_level"].name, "info")
