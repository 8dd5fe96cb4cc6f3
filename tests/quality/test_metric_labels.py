"""The journal's table: every label finite and declared, every event known, every name a good one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mtad
from mtad.config import Settings
from mtad.model.journal import EVENTS, METRICS, OTHER, REASONS, FirstMet, Kind

ROOT = Path(mtad.__file__).parent
MAX_SERIES = 500
# What a label may have by default when a setting bounds it; each value has the other labels' series.
MAX_MET = 1000


def recorded(source: str) -> Iterator[tuple[int, str]]:
    """Yield each event name a module records, with its line; what a format leaves open as `*`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "record":
            for argument in node.args[:1]:
                yield from ((node.lineno, name) for name in names(argument))


def names(argument: ast.expr) -> Iterator[str]:
    match argument:
        case ast.Constant(value=str(name)):
            yield name
        case ast.JoinedStr(values=parts):
            yield "".join(part.value if isinstance(part, ast.Constant) else "*" for part in parts)
        case ast.IfExp(body=body, orelse=orelse):
            yield from names(body)
            yield from names(orelse)


def refusals(source: str) -> Iterator[str]:
    """Yield the reason of each Refuse a module makes."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Refuse":
            yield from (argument.value for argument in node.args[1:2] if isinstance(argument, ast.Constant))


def known(name: str) -> bool:
    pattern = re.escape(name).replace(r"\*", "[a-z_]+")
    return any(re.fullmatch(pattern, event) for event in EVENTS)


class TableTest(SynchronousTestCase):
    def test_every_label_of_every_metric_has_a_finite_declared_set_of_values(self) -> None:
        for metric in METRICS.values():
            series = 1
            for label, values in metric.labels.items():
                if isinstance(values, FirstMet):
                    section, _, key = values.setting.partition(".")
                    self.assertLessEqual(getattr(getattr(Settings(), section), key), MAX_MET, (metric.name, label))
                    continue
                self.assertIsInstance(values, frozenset, (metric.name, label))
                self.assertIn(OTHER, values, (metric.name, label))
                self.assertGreater(len(values), 1, (metric.name, label))
                series *= len(values)
            self.assertLess(series * max(1, len(metric.buckets)), MAX_SERIES, metric.name)

    def test_every_label_is_filled_by_every_event_that_counts(self) -> None:
        for event, entry in EVENTS.items():
            for update in entry.updates:
                metric = METRICS[update.metric]
                admitting = {values.admits for values in metric.labels.values() if isinstance(values, FirstMet)}
                self.assertLessEqual(admitting, entry.facts, event)
                self.assertEqual(update.labels.keys(), metric.labels.keys(), event)
                for label, source in update.labels.items():
                    if source.startswith("=") and not isinstance(metric.labels[label], FirstMet):
                        self.assertIn(source[1:], metric.labels[label], event)
                    else:
                        self.assertIn(source, entry.facts, event)

    def test_every_amount_is_a_number_or_a_fact(self) -> None:
        for event, entry in EVENTS.items():
            for update in entry.updates:
                if isinstance(update.amount, str):
                    self.assertIn(update.amount, entry.facts, event)
                if update.absolute:
                    self.assertIs(METRICS[update.metric].kind, Kind.GAUGE, event)

    def test_every_metric_is_counted_by_an_event(self) -> None:
        counted = {update.metric for entry in EVENTS.values() for update in entry.updates}
        self.assertEqual(METRICS.keys() - counted, set())

    def test_names_are_those_prometheus_asks_for(self) -> None:
        for metric in METRICS.values():
            self.assertRegex(metric.name, r"\A[a-z][a-z_]*[a-z]\Z")
            self.assertEqual(metric.name.endswith("_total"), metric.kind is Kind.COUNTER, metric.name)
            self.assertEqual(bool(metric.buckets), metric.kind is Kind.HISTOGRAM, metric.name)
            self.assertEqual(list(metric.buckets), sorted(metric.buckets), metric.name)


class UseTest(SynchronousTestCase):
    def test_every_event_that_is_recorded_is_in_the_table(self) -> None:
        found = [
            (str(path.relative_to(ROOT)), line, name)
            for path in sorted(ROOT.rglob("*.py"))
            for line, name in recorded(path.read_text())
        ]
        self.assertGreater(len(found), 10)
        self.assertEqual([use for use in found if not known(use[2])], [])

    def test_every_reason_to_refuse_is_a_declared_value(self) -> None:
        reasons = {reason for path in ROOT.rglob("*.py") for reason in refusals(path.read_text())}
        self.assertIn("no-such-user", reasons)
        self.assertEqual(reasons - REASONS, set())

    def test_the_scan_sees_what_is_wrong(self) -> None:
        source = "j.record('no.such')\nj.record(f'delivery.{x}')\nj.record('queue.swept' if a else 'no.more')\n"
        self.assertEqual(
            [(line, name, known(name)) for line, name in recorded(source)],
            [(1, "no.such", False), (2, "delivery.*", True), (3, "queue.swept", True), (3, "no.more", False)],
        )
        self.assertEqual(list(refusals("Refuse(replies.X, 'why')")), ["why"])
