"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Family = tuple[str, str, str, dict[str, float]] | Metric
"""(``gauge`` or ``counter``, name, help, value per label ``what``; under "" the one value of a figure without)."""


def histogram(
    name: str, about: str, labels: tuple[str, ...], edges: list[float],
    held: Iterable[tuple[tuple[str, ...], list[int], float]],
) -> Metric:  # fmt: skip
    """A histogram per set of labels.

    Args:
        name: of the metric.
        about: its help.
        labels: names of the labels.
        edges: upper edges of all buckets but the last, which has none.
        held: (labels, counts, sum) of each.
    """
    family = HistogramMetricFamily(name, about, labels=labels)
    for values, counts, total in held:
        passed, buckets = 0, list[tuple[str, float]]()
        for edge, n in zip([*(f"{edge:.6g}" for edge in edges), "+Inf"], counts, strict=True):
            passed += n
            buckets.append((edge, float(passed)))
        family.add_metric(values, buckets, total)
    return family


class Telemetry:
    """Counters of our own, and figures that are asked for when somebody looks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.compilations = Counter(
            "kernel_compilations", "Kernels that numba compiled; 0 after a warm start", registry=self.registry
        )

    def observe(self, look: Callable[[], Iterable[Family]]) -> None:
        """Ask ``look`` for figures at every scrape."""
        self.registry.register(_Looking(look))

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)


class _Looking(Collector):
    def __init__(self, look: Callable[[], Iterable[Family]]) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        for found in self._look():
            if isinstance(found, Metric):
                yield found
                continue
            kind, name, help_, values = found
            labels = [] if set(values) == {""} else ["what"]
            family = (GaugeMetricFamily if kind == "gauge" else CounterMetricFamily)(
                name, help_, labels=labels
            )
            for what, value in values.items():
                family.add_metric([what] if labels else [], value)
            yield family
