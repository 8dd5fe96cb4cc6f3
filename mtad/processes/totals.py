"""The counters of all processes of a server as one, of those that ended as well.

Counters and histograms are added up and never go back: what a process was last heard to have counted stays in the sum
when it is no more. Gauges are of those that live, taken together as the journal's table says. As one process has series
for so many domains, all together have: the first ones met, here; others count as `other`.
"""

from collections.abc import Callable, Iterable, Mapping

from mtad.model.journal import METRICS, OTHER, Across, FirstMet
from mtad.model.samples import Family, Labels, Sample

_Key = tuple[str, Labels]
_Sums = dict[_Key, float]

_TOGETHER: Mapping[Across, Callable[[float, float], float]] = {
    Across.SUM: lambda one, other: one + other,
    Across.LARGEST: max,
    Across.SMALLEST: min,
}
# What prometheus_client tells of each process by itself, and is no sum.
_FOREIGN = {"process_start_time_seconds": Across.SMALLEST, "python_info": Across.LARGEST}


class Totals:
    """What processes, by any key, were last heard to have counted."""

    def __init__(self, max_domains: int) -> None:
        self._max_domains = max_domains
        self._met: set[str] = set()
        self._living: dict[int, tuple[Family, ...]] = {}
        self._ended: dict[str, tuple[Family, _Sums]] = {}

    def keep(self, process: int, families: Iterable[Family]) -> None:
        """Remember what a process that lives has counted by now."""
        self._living[process] = tuple(families)

    def end(self, process: int) -> None:
        """Keep what a process had counted, its gauges excepted, for ever: it is no more."""
        for family in self._living.pop(process, ()):
            if family.kind != "gauge":
                _, sums = self._ended.setdefault(family.name, (family, {}))
                self._add(family, sums)

    def families(self) -> list[Family]:
        """Return all of it as one process would."""
        merged = {name: (family, dict(sums)) for name, (family, sums) in self._ended.items()}
        for families in self._living.values():
            for family in families:
                _, sums = merged.setdefault(family.name, (family, {}))
                self._add(family, sums)
        return [
            Family(name, first.kind, first.help, tuple(Sample(*key, value) for key, value in sums.items()))
            for name, (first, sums) in merged.items()
        ]

    def _add(self, family: Family, sums: _Sums) -> None:
        together = _TOGETHER[across(family)]
        first_met = _first_met(family)
        folded: _Sums = {}
        for sample in family.samples:
            labels = self._folded(sample.labels, first_met) if first_met else sample.labels
            key = sample.name, labels
            folded[key] = folded[key] + sample.value if key in folded else sample.value
        for key, value in folded.items():
            sums[key] = together(sums[key], value) if key in sums else value

    def _folded(self, labels: Labels, first_met: frozenset[str]) -> Labels:
        return tuple((name, value if name not in first_met or self._admits(value) else OTHER) for name, value in labels)

    def _admits(self, value: str) -> bool:
        if value != OTHER and value not in self._met and len(self._met) < self._max_domains:
            self._met.add(value)
        return value in self._met


def across(family: Family) -> Across:
    """Return how the values of several processes make one."""
    if family.name in METRICS:
        return METRICS[family.name].across
    return _FOREIGN.get(family.name, Across.SUM)


def _first_met(family: Family) -> frozenset[str]:
    """Return the labels of a metric whose values nobody could list beforehand."""
    metric = METRICS.get(f"{family.name}_total" if family.kind == "counter" else family.name)
    labels = metric.labels.items() if metric is not None else ()
    return frozenset(label for label, values in labels if isinstance(values, FirstMet))
