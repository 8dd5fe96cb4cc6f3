"""What a process counted, as plain values: for another process to add up."""

from dataclasses import dataclass

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the exposition; `labels` are in the order of their names."""

    name: str
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """The samples of one metric. `kind` is Prometheus' word for it; a counter's name lacks its `_total`."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]
