"""The journal's table: every event a process records of itself, how loud it is logged, and what it counts.

Pure data: `mtad.adapters.metrics` turns it into log lines and Prometheus metrics, `mtad.testing.journal` checks flows
against it. Each label has a finite set of values, declared here or bounded by a setting; a value outside becomes
`other`, so no peer can make the exposition grow. Timeline events (`mtad.model.event`) are something else: they belong
to messages and are stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from mtad.model.authentication import Result
from mtad.model.domain_check import Status, Subject
from mtad.model.event import Fact
from mtad.model.report import Action

OTHER = "other"


class Level(Enum):
    """How loud an event is; the names of `twisted.logger.LogLevel`."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    CRITICAL = "critical"


class Kind(Enum):
    """What a metric does with a value: add it up, hold the last one, or spread it over buckets."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Across(Enum):
    """How a gauge's values in several processes of a server make one; counters and histograms are added up."""

    SUM = "sum"
    LARGEST = "largest"
    SMALLEST = "smallest"


@dataclass(frozen=True, slots=True)
class FirstMet:
    """Values of a label that nobody can list beforehand: the first ones met, as many as `setting` says.

    A value becomes one of them by an event whose fact `admits` says so; until then it counts as `other`.
    """

    setting: str
    admits: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of the exposition. `labels` maps each label to all the values it may have."""

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, frozenset[str] | FirstMet] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    across: Across = Across.SUM


@dataclass(frozen=True, slots=True)
class Update:
    """What one event does to one metric.

    `amount` is a number, or the name of the fact that holds it. `absolute` sets a gauge instead of adding to it.
    `labels` maps each label of the metric to the name of the fact its value comes from, `=word` for a fixed value.
    """

    metric: str
    amount: float | str = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    absolute: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One event: its level (None: counted, never logged), the facts it must come with, and what it counts.

    Further facts are welcome in the log.
    """

    level: Level | None
    facts: frozenset[str]
    updates: tuple[Update, ...] = ()


STAGES = frozenset({"connect", "command", "mail", "rcpt", "data", "message"})
REASONS = frozenset({
    "bare-newline", "claim-pending", "mailbox-disabled", "no-such-user", "nul", "relay-denied", "routing-loop",
    "login-required", "sender-not-permitted", "syntax", "too-large", "too-many-errors", "too-many-recipients",
    "too-many-refused",
    "unacceptable", "unavailable", "spf-fail", "dkim-fail", "dmarc-fail", "identity-trouble", "no-author",
    "author-not-permitted", "from-unreadable",
    "early-talker", "proxy-header", "too-many-connections", "too-many-of-peer",
    "line-too-long", "header-too-large", "storage-full", "memory-full", "database-slow",
})  # fmt: skip
MECHANISMS = frozenset({"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"})
LOGINS = frozenset({"accepted", "refused", "deferred", "throttled"})
STATUSES = frozenset({"queued", "delivering", "held", "quarantined"})
MEMORY_USES = frozenset({"input", "incoming", "delivery"})
MEASURES = frozenset({"memory", "database", "disk"})
DESTINATIONS = frozenset({"maildir", "lmtp", "smtp", "remote", "none"})
DOMAINS = FirstMet("metrics.max_domains", admits="real")
RESULTS = frozenset(result.value for result in Result)
CHECK_SUBJECTS = frozenset(subject.value for subject in Subject)
CHECK_STATUSES = frozenset(status.value for status in Status)
OUTCOMES = frozenset({"delivered", "deferred", "failed"})
ACTIONS = frozenset(action.value for action in Action)
DEPENDENCIES = frozenset({"postgres", "redis", "dns", "disk", "offload", "master_key"})

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# From a Maildir beside us to a server at the end of its patience; few, for there is a series for each domain.
_DELIVERY_SECONDS = (0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0)
_OCTETS = (1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0)

_METRICS = (
    Metric("smtp_connections_total", Kind.COUNTER, "Connections accepted."),
    Metric("smtp_connections_active", Kind.GAUGE, "Connections open now."),
    Metric("smtp_connection_seconds", Kind.HISTOGRAM, "How long connections lasted.",
           buckets=(0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0)),
    Metric("smtp_timeouts_total", Kind.COUNTER, "Connections closed because the peer was silent."),
    Metric("smtp_logins_total", Kind.COUNTER, "Logins, by how they were tried and how they ended.",
           {"mechanism": MECHANISMS | {OTHER}, "result": LOGINS | {OTHER}}),
    Metric("smtp_messages_received_total", Kind.COUNTER, "Messages answered with 250 at the end of their data."),
    Metric("smtp_recipients_received_total", Kind.COUNTER, "Recipients of messages received."),
    Metric("smtp_messages_rejected_total", Kind.COUNTER, "Refusals, by the stage and the reason.",
           {"stage": STAGES | {OTHER}, "reason": REASONS | {OTHER}}),
    Metric("smtp_spf_results_total", Kind.COUNTER, "SPF results of mail received, by the domain that receives it.",
           {"domain": DOMAINS, "result": RESULTS | {OTHER}}),
    Metric("smtp_dkim_results_total", Kind.COUNTER, "DKIM results of mail received, by the domain that receives it.",
           {"domain": DOMAINS, "result": RESULTS | {OTHER}}),
    Metric("smtp_dmarc_results_total", Kind.COUNTER, "DMARC results of mail received, by the domain that receives it.",
           {"domain": DOMAINS, "result": RESULTS | {OTHER}}),
    Metric("smtp_message_size_bytes", Kind.HISTOGRAM, "Sizes of messages received.", buckets=_OCTETS),
    Metric("queue_accept_seconds", Kind.HISTOGRAM, "From the end of data to the commit.", buckets=_SECONDS),
    Metric("queue_claimed_rows_total", Kind.COUNTER, "Rows claimed from the database."),
    Metric("queue_settled_rows_total", Kind.COUNTER, "Rows settled."),
    Metric("queue_released_rows_total", Kind.COUNTER, "Rows given back unattempted."),
    Metric("queue_reconciled_rows_total", Kind.COUNTER, "Rows the database held for this process, which lacked them."),
    Metric("queue_swept_messages_total", Kind.COUNTER, "Messages without rows that were removed."),
    Metric("queue_holds", Kind.GAUGE, "Holds that stand, as far as this process knows.", across=Across.LARGEST),
    Metric("queue_held_rows_freed_total", Kind.COUNTER, "Recipients queued again because their hold is over."),
    Metric("queue_quarantine_expired_total", Kind.COUNTER, "Recipients removed that were quarantined for too long."),
    Metric("smtp_queue_size", Kind.GAUGE, "Recipients in the whole queue, by status; one process a server counts.",
           {"status": STATUSES | {OTHER}}, across=Across.LARGEST),
    Metric("memory_budget_bytes", Kind.GAUGE, "Octets of mail this process may hold in memory."),
    Metric("memory_bytes", Kind.GAUGE, "Octets of mail this process holds in memory, by what for.",
           {"use": MEMORY_USES | {OTHER}}),
    Metric("pressure_level", Kind.GAUGE, "What peers notice: 0 nothing, 1 they are slowed down, 2 they are refused.",
           {"measure": MEASURES | {OTHER}}, across=Across.LARGEST),
    Metric("queue_in_memory_jobs", Kind.GAUGE, "Jobs this process holds."),
    Metric("queue_in_memory_bytes", Kind.GAUGE, "Octets of content this process holds for delivery."),
    Metric("smtp_messages_sent_total", Kind.COUNTER, "Messages some next hop took, once for each destination.",
           {"type": DESTINATIONS | {OTHER}}),
    Metric("smtp_delivery_duration_seconds", Kind.HISTOGRAM, "How long attempts to deliver took, by where to.",
           {"domain": DOMAINS, "type": DESTINATIONS | {OTHER}}, _DELIVERY_SECONDS),
    Metric("delivery_tls_failures_total", Kind.COUNTER, "Times TLS was offered and could not be begun."),
    Metric("delivery_attempts_total", Kind.COUNTER, "Attempts for one recipient, by where to and how they ended.",
           {"kind": DESTINATIONS | {OTHER}, "outcome": OUTCOMES | {OTHER}}),
    Metric("delivery_held_total", Kind.COUNTER, "Recipients put on hold instead of delivered."),
    Metric("delivery_given_up_total", Kind.COUNTER, "Recipients that were finally not served."),
    Metric("delivery_reports_total", Kind.COUNTER, "Reports written to senders, by what they tell.",
           {"action": ACTIONS | {OTHER}}),
    Metric("hosted_domains", Kind.GAUGE, "Hosted domains by what the DNS says of them; the same from every process.",
           {"subject": CHECK_SUBJECTS | {OTHER}, "status": CHECK_STATUSES | {OTHER}}, across=Across.LARGEST),
    Metric("node_lease_seconds", Kind.GAUGE, "Seconds this process may still act for its rows.",
           across=Across.SMALLEST),
    Metric("node_leases_lost_total", Kind.COUNTER, "Times this process lost its lease."),
    Metric("node_rows_taken_over_total", Kind.COUNTER, "Rows freed because their node died."),
    Metric("tls_certificates_broken", Kind.GAUGE, "Certificates whose files cannot be used; the ones before are kept.",
           across=Across.LARGEST),
    Metric("tls_certificate_expiry_seconds", Kind.GAUGE, "Seconds until the first certificate expires.",
           across=Across.SMALLEST),
    Metric("server_processes", Kind.GAUGE, "Processes that are up, where server.processes is set."),
    Metric("server_process_ends_total", Kind.COUNTER, "Processes that ended unasked; each is started again."),
    Metric("dependency_failures_total", Kind.COUNTER, "Times a dependency did not do its part.",
           {"dependency": DEPENDENCIES | {OTHER}}),
    Metric("surprises_total", Kind.COUNTER, "Errors nobody expected; each is in the log."),
)  # fmt: skip
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _METRICS}


def _entry(level: Level | None, facts: str, *updates: Update) -> Entry:
    return Entry(level, frozenset(facts.split()), updates)


def _attempt(outcome: str) -> Update:
    return Update("delivery_attempts_total", labels={"kind": "kind", "outcome": f"={outcome}"})


def _verified(metric: str) -> Entry:
    return _entry(None, "domain real result", Update(metric, labels={"domain": "domain", "result": "result"}))


EVENTS: Mapping[str, Entry] = {
    "service.started": _entry(Level.INFO, ""),
    "service.stopping": _entry(Level.INFO, ""),
    "service.stopped": _entry(Level.INFO, ""),
    "process.up": _entry(Level.INFO, "number pid seconds"),
    "process.ended": _entry(Level.ERROR, "number pid how again_seconds", Update("server_process_ends_total")),
    "process.stopped": _entry(Level.INFO, "number pid"),
    "process.killed": _entry(Level.ERROR, "number pid seconds"),
    "process.counted": _entry(None, "up", Update("server_processes", "up", absolute=True)),
    "reload.begun": _entry(Level.INFO, "by"),
    "reload.refused": _entry(Level.ERROR, "reason"),
    "reload.done": _entry(Level.INFO, "processes seconds"),
    "smtp.connected": _entry(
        Level.DEBUG, "peer port", Update("smtp_connections_total"), Update("smtp_connections_active")
    ),
    "smtp.disconnected": _entry(
        Level.DEBUG, "peer seconds", Update("smtp_connections_active", -1), Update("smtp_connection_seconds", "seconds")
    ),
    "smtp.timeout": _entry(Level.INFO, "peer", Update("smtp_timeouts_total")),
    "smtp.login": _entry(
        Level.INFO, "mechanism result reason user peer",
        Update("smtp_logins_total", labels={"mechanism": "mechanism", "result": "result"}),
    ),
    "smtp.accepted": _entry(
        Level.INFO, "id organisation reverse_path recipients size peer",
        Update("smtp_messages_received_total"), Update("smtp_recipients_received_total", "recipients"),
        Update("smtp_message_size_bytes", "size"),
    ),
    "verification.spf": _verified("smtp_spf_results_total"),
    "verification.dkim": _verified("smtp_dkim_results_total"),
    "verification.dmarc": _verified("smtp_dmarc_results_total"),
    "smtp.rejected": _entry(
        Level.INFO, "stage reason reply peer",
        Update("smtp_messages_rejected_total", labels={"stage": "stage", "reason": "reason"}),
    ),
    "smtp.xclient": _entry(Level.INFO, "peer host name helo login"),
    "session.surprise": _entry(Level.ERROR, "failure", Update("surprises_total")),
    "settlement.surprise": _entry(Level.ERROR, "id failure", Update("surprises_total")),
    "task.surprise": _entry(Level.ERROR, "task failure", Update("surprises_total")),
    "queue.accepted": _entry(None, "seconds", Update("queue_accept_seconds", "seconds")),
    "queue.claimed": _entry(Level.DEBUG, "count", Update("queue_claimed_rows_total", "count")),
    "queue.settled": _entry(Level.DEBUG, "count", Update("queue_settled_rows_total", "count")),
    "queue.released": _entry(Level.DEBUG, "count", Update("queue_released_rows_total", "count")),
    "queue.reconciled": _entry(Level.WARN, "count", Update("queue_reconciled_rows_total", "count")),
    "queue.swept": _entry(Level.WARN, "count", Update("queue_swept_messages_total", "count")),
    "holds.changed": _entry(Level.INFO, "count", Update("queue_holds", "count", absolute=True)),
    "queue.freed": _entry(Level.INFO, "count", Update("queue_held_rows_freed_total", "count")),
    "queue.quarantine_expired": _entry(Level.INFO, "count", Update("queue_quarantine_expired_total", "count")),
    "queue.sizes": _entry(
        None, "queued delivering held quarantined",
        *(Update("smtp_queue_size", status, {"status": f"={status}"}, absolute=True) for status in sorted(STATUSES)),
    ),
    "queue.memory": _entry(
        None, "jobs octets",
        Update("queue_in_memory_jobs", "jobs", absolute=True), Update("queue_in_memory_bytes", "octets", absolute=True),
    ),
    "memory.used": _entry(
        None, "budget input incoming delivery", Update("memory_budget_bytes", "budget", absolute=True),
        *(Update("memory_bytes", use, {"use": f"={use}"}, absolute=True) for use in sorted(MEMORY_USES)),
    ),
    "pressure.changed": _entry(
        Level.WARN, "memory database disk",
        *(Update("pressure_level", each, {"measure": f"={each}"}, absolute=True) for each in sorted(MEASURES)),
    ),
    "delivery.attempted": _entry(
        None, "id domain real type seconds sent", Update("smtp_messages_sent_total", "sent", {"type": "type"}),
        Update("smtp_delivery_duration_seconds", "seconds", {"domain": "domain", "type": "type"}),
    ),
    "delivery.tls_failed": _entry(Level.INFO, "host address reason", Update("delivery_tls_failures_total")),
    "delivery.delivered": _entry(Level.INFO, "id n recipient kind detail", _attempt("delivered")),
    "delivery.deferred": _entry(Level.INFO, "id n recipient kind detail", _attempt("deferred")),
    "delivery.failed": _entry(Level.INFO, "id n recipient kind detail", _attempt("failed")),
    "delivery.held": _entry(Level.WARN, "id n recipient detail", Update("delivery_held_total")),
    "delivery.given_up": _entry(Level.INFO, "id n recipient detail", Update("delivery_given_up_total")),
    "report.queued": _entry(
        Level.INFO, "id about action", Update("delivery_reports_total", labels={"action": "action"})
    ),
    "node.joined": _entry(Level.INFO, "owner slot"),
    "node.beat": _entry(None, "lease_seconds", Update("node_lease_seconds", "lease_seconds", absolute=True)),
    "node.lease_lost": _entry(
        Level.ERROR, "owner reason", Update("node_leases_lost_total"), Update("node_lease_seconds", 0, absolute=True)
    ),
    "node.left": _entry(Level.INFO, "owner rows"),
    "node.draining": _entry(Level.WARN, "owner"),
    "node.working": _entry(Level.INFO, "owner"),
    "node.orphans_freed": _entry(Level.WARN, "rows", Update("node_rows_taken_over_total", "rows")),
    "node.taken_over": _entry(Level.WARN, "owner rows", Update("node_rows_taken_over_total", "rows")),
    "tls.certificate_loaded": _entry(Level.INFO, "names file"),
    "tls.certificate_broken": _entry(Level.ERROR, "file reason"),
    "tls.certificate_expires": _entry(Level.WARN, "names file days"),
    "tls.certificates": _entry(
        None, "broken expiry_seconds",
        Update("tls_certificates_broken", "broken", absolute=True),
        Update("tls_certificate_expiry_seconds", "expiry_seconds", absolute=True),
    ),
    "dkim.keys_in_clear": _entry(Level.WARN, ""),
    "dkim.key_moved": _entry(Level.INFO, "domain selector before after"),
    "dkim.key_locked": _entry(Level.ERROR, "domain selector master_key"),
    "dkim.sealed": _entry(Level.INFO, "count"),
    "domain.verified": _entry(Level.INFO, "domain organisation"),
    "domain.check_good": _entry(Level.INFO, "domain subject detail"),
    "domain.check_bad": _entry(Level.WARN, "domain subject detail"),
    "domain.statuses": _entry(
        None, "subject good bad unknown",
        *(Update("hosted_domains", status, {"subject": "subject", "status": f"={status}"}, absolute=True)
          for status in sorted(CHECK_STATUSES)),
    ),
    "store.unavailable": _entry(
        Level.ERROR, "dependency reason", Update("dependency_failures_total", labels={"dependency": "dependency"})
    ),
}  # fmt: skip


def wrong_with(event: str, facts: Mapping[str, Fact]) -> str | None:
    """Return what is wrong with recording `event` with these facts, None when nothing is."""
    entry = EVENTS.get(event)
    if entry is None:
        return f"{event} is not in mtad.model.journal.EVENTS"
    missing = entry.facts - facts.keys()
    if missing:
        return f"{event} lacks {', '.join(sorted(missing))}"
    for update in entry.updates:
        if isinstance(update.amount, str) and not isinstance(facts[update.amount], int | float):
            return f"{event}: {update.amount} counts, so it must be a number, not {facts[update.amount]!r}"
        for label, source in update.labels.items():
            values = METRICS[update.metric].labels[label]
            if not source.startswith("=") and not isinstance(values, FirstMet) and facts[source] not in values:
                return f"{event}: {source}={facts[source]!r} is no value of label {label} of {update.metric}"
    return None
