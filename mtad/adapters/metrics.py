"""The journal: events become log lines and Prometheus metrics, as the table of `mtad.model.journal` says.

It never raises and never grows: an event outside the table is logged as such, a label value outside its set, or beyond
the number a setting allows, counts as `other`. A record costs one to three microseconds besides its log line
(bench/journal.py). What it does not do: format the log (that is the sink's), serve HTTP (that is `mtad.web`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client import Metric as Exposed
from prometheus_client.registry import Collector
from twisted.logger import Logger, LogLevel
from zope.interface import implementer

from mtad.interfaces import IJournal
from mtad.model.event import Fact
from mtad.model.journal import DOMAINS, EVENTS, METRICS, OTHER, FirstMet, Kind, Level, Metric, Update
from mtad.model.samples import Family, Sample

LogSink = Callable[[Level, str, Mapping[str, Fact]], None]

_LOUDNESS = list(Level)
_FAMILIES = {Kind.COUNTER: Counter, Kind.GAUGE: Gauge, Kind.HISTOGRAM: Histogram}
_LEVELS = {level: LogLevel.levelWithName(level.value) for level in Level}
_log = Logger(namespace="mtad")


def twisted_log(level: Level, event: str, facts: Mapping[str, Fact]) -> None:
    """Hand an event to `twisted.logger`: its name as `mtad_event`, its facts, whatever their names, as `mtad_facts`."""
    _log.emit(_LEVELS[level], "{mtad_event} {mtad_facts}", mtad_event=event, mtad_facts=facts)


@implementer(IJournal)
class Journal:
    """Counts in a registry of its own, and gives `log` what is at least as loud as `least`.

    What the log then leaves out is the log's choice; `least` only spares it what it would leave out anyway. As many
    domains as `max_domains` have series of their own: the real ones met first.
    """

    def __init__(self, log: LogSink = twisted_log, least: Level = Level.INFO, max_domains: int = 1000) -> None:
        # Only doubles the exposition; nobody asks when a counter was made.
        disable_created_metrics()
        self._log = log
        self._registry = CollectorRegistry(auto_describe=False)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        families = {name: self._family(metric) for name, metric in METRICS.items()}
        met = {DOMAINS: _Met(max_domains, DOMAINS.admits)}
        self._events = {
            event: (
                entry.level if entry.level is not None and _louder(entry.level, least) else None,
                [_counting(families[update.metric], METRICS[update.metric], update, met) for update in entry.updates],
            )
            for event, entry in EVENTS.items()
        }

    def record(self, event: str, **facts: Fact) -> None:
        """Count the event and log it; nothing that goes wrong here is the caller's trouble."""
        try:
            level, counts = self._events[event]
            for count in counts:
                count(facts)
            if level is not None:
                self._log(level, event, facts)
        except Exception:
            self._complain(event, facts)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)

    def families(self) -> list[Family]:
        """Return all metrics as values."""
        return [
            Family(
                family.name,
                family.type,
                family.documentation,
                tuple(
                    Sample(sample.name, tuple(sorted(sample.labels.items())), sample.value) for sample in family.samples
                ),
            )
            for family in self._registry.collect()
        ]

    def _complain(self, event: str, facts: Mapping[str, Fact]) -> None:
        # When the log itself is broken the caller's mail still goes on.
        with suppress(Exception):
            _log.failure("the journal could not record {name} with {facts}", name=event, facts=dict(facts))

    def _family(self, metric: Metric) -> Any:
        options = {"buckets": metric.buckets} if metric.kind is Kind.HISTOGRAM else {}
        return _FAMILIES[metric.kind](metric.name, metric.help, list(metric.labels), registry=self._registry, **options)


class _Given(Collector):
    """Collects what it is given."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Exposed]:
        """Yield each family as prometheus_client has it."""
        for family in self._families:
            exposed = Exposed(family.name, family.help, family.kind)
            for sample in family.samples:
                exposed.add_sample(sample.name, dict(sample.labels), sample.value)
            yield exposed


def exposition(families: Iterable[Family]) -> bytes:
    """Return families in Prometheus' text format 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given(families))
    return generate_latest(registry)


def _louder(level: Level, least: Level) -> bool:
    return _LOUDNESS.index(level) >= _LOUDNESS.index(least)


class _Met:
    """The values of a label that have been met, up to a number of them; all metrics share them.

    `admits` is the fact of an event that says whether its value may become one.
    """

    def __init__(self, limit: int, admits: str) -> None:
        self._limit = limit
        self._admits = admits
        self._values: set[object] = set()

    def holds(self, value: object, facts: Mapping[str, Fact]) -> bool:
        """Return whether it is one of them, from now on if there is room and the event admits it."""
        if value not in self._values and len(self._values) < self._limit and facts[self._admits]:
            self._values.add(value)
        return value in self._values


_Bounds = Mapping[FirstMet, _Met]


def _counting(family: Any, metric: Metric, update: Update, met: _Bounds) -> Callable[[Mapping[str, Fact]], None]:
    """Return what an update does, with all that can be looked up beforehand looked up."""
    move = "observe" if metric.kind is Kind.HISTOGRAM else "set" if update.absolute else "inc"
    amount = update.amount
    if metric.labels:
        find = _finding(family, metric, update, met)
        return lambda facts: getattr(find(facts), move)(facts[amount] if isinstance(amount, str) else amount)
    act = getattr(family, move)
    if isinstance(amount, str):
        return lambda facts: act(facts[amount])
    return lambda facts: act(amount)


def _finding(family: Any, metric: Metric, update: Update, met: _Bounds) -> Callable[[Mapping[str, Fact]], Any]:
    """Return what finds the series of an event; each is made when it is first met."""
    series: dict[tuple[Fact, ...], Any] = {}
    sources = [
        (met[values] if isinstance(values, FirstMet) else values, update.labels[label])
        for label, values in metric.labels.items()
    ]

    def find(facts: Mapping[str, Fact]) -> Any:
        values = tuple(source[1:] if source[0] == "=" else facts[source] for _, source in sources)
        found = series.get(values)
        if found is not None:
            return found
        known = [
            value if _holds(allowed, value, facts) else OTHER
            for (allowed, _), value in zip(sources, values, strict=True)
        ]
        child = family.labels(*known)
        if tuple(known) == values:
            series[values] = child
        return child

    return find


def _holds(allowed: frozenset[str] | _Met, value: Fact, facts: Mapping[str, Fact]) -> bool:
    return allowed.holds(value, facts) if isinstance(allowed, _Met) else value in allowed
