"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Family = tuple[str, str, str, dict[str, float]]
"""(``gauge`` or ``counter``, name, help, value per label ``what``; under "" the one value of a figure without)."""


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
        for kind, name, help_, values in self._look():
            labels = [] if set(values) == {""} else ["what"]
            family = (GaugeMetricFamily if kind == "gauge" else CounterMetricFamily)(
                name, help_, labels=labels
            )
            for what, value in values.items():
                family.add_metric([what] if labels else [], value)
            yield family
