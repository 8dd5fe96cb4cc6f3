"""docs/metrics.md has every metric of the journal's table, with its kind, its meaning, and its labels' values."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mtad
from mtad.model.journal import METRICS, OTHER, Across, FirstMet, Metric

PAGE = (Path(mtad.__file__).parent.parent / "docs" / "metrics.md").read_text()


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of each metric's row, by its name."""
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", page, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in found}


def labels(metric: Metric) -> str:
    """Return a metric's labels as the page writes them."""
    written = []
    for label, values in metric.labels.items():
        known = ["a domain"] if isinstance(values, FirstMet) else [f"`{value}`" for value in sorted(values - {OTHER})]
        end = ", or `other`" if isinstance(values, FirstMet) else ", `other`"
        written.append(f"`{label}`: {', '.join(known)}{end}")
    return "; ".join(written)


def kind(metric: Metric) -> str:
    """Return a metric's kind and how values of several processes make one, if not by their sum."""
    kind = metric.kind.value
    return kind if metric.across is Across.SUM else f"{kind}, {metric.across.value}"


class MetricsPageTest(SynchronousTestCase):
    def test_every_metric_and_no_other(self) -> None:
        wanted = {name: [kind(metric), metric.help, labels(metric)] for name, metric in METRICS.items()}
        self.assertEqual(rows(PAGE), wanted)

    def test_the_settings_that_bound_labels(self) -> None:
        bounds = {
            values.setting for m in METRICS.values() for values in m.labels.values() if isinstance(values, FirstMet)
        }
        self.assertEqual({bound for bound in bounds if f"`{bound}`" not in PAGE}, set())

    def test_the_check_sees_wrongs(self) -> None:
        self.assertEqual(rows("| `a_total` | counter | x | |\n| a | b |\n"), {"a_total": ["counter", "x", ""]})
