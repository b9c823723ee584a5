"""What `/metrics` shows, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgemate.calibration import OperatingPoint
from edgemate.monitoring import Statistics, drift_alerts
from edgemate.runtime import Prediction
from edgemate.runtime.counting import Counts

WINDOW = 10_000
"""Images of an operating point after which its drift is counted anew, so that old ones do not hide a change."""
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters of one server.

    Args:
        exits: K.
        points: the operating points whose drift is shown, by name.
        queue: gives the images that are accepted and not yet answered.
    """

    def __init__(self, exits: int, points: Mapping[str, OperatingPoint], queue: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter("edgemate_requests", "Answered requests, by HTTP status.", ["code"], registry=registry)
        self._images = Counter("edgemate_images", "Images by the exit that answered.", ["exit"], registry=registry)
        self._seconds = Histogram(
            "edgemate_request_seconds",
            "From an inference request's head to its answer.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._batches = Histogram(
            "edgemate_request_images", "Images of a request.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )
        self._degraded = Counter(
            "edgemate_degraded_images", "Images answered by an earlier exit, as a later one failed.", registry=registry
        )
        self._late = Counter("edgemate_late_images", "Images answered after their deadline.", registry=registry)
        Gauge("edgemate_queue_images", "Images accepted and not yet answered.", registry=registry).set_function(queue)
        self._drift = {name: _Window(exits, point) for name, point in points.items()}
        registry.register(_DriftCollector(self._drift))
        for exit in range(1, exits + 1):
            self._images.labels(str(exit))

    def count_request(self, code: int) -> None:
        """Count one answered request."""
        self._requests.labels(str(code)).inc()

    def count_answer(
        self, predictions: Sequence[Prediction], seconds: float, *, late: bool, policy: str | None
    ) -> None:
        """Count the answer to an inference request.

        Args:
            predictions: one per image.
            seconds: from its head.
            late: whether it came after its deadline.
            policy: the operating point that it ran.
        """
        self._seconds.observe(seconds)
        self._batches.observe(len(predictions))
        for prediction in predictions:
            self._images.labels(str(prediction.exit)).inc()
        self._degraded.inc(sum(prediction.degraded for prediction in predictions))
        if late:
            self._late.inc(len(predictions))
        if policy in self._drift:
            self._drift[policy].add(predictions)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)


class _Window:
    """The statistics of an operating point over its last images: the window that is full, or the first one so far."""

    def __init__(self, exits: int, point: OperatingPoint) -> None:
        self._exits = exits
        self._point = point
        self._counts = Counts(exits)
        self._images = 0
        self._last: Statistics | None = None

    def add(self, predictions: Sequence[Prediction]) -> None:
        self._counts.add(predictions, None)
        self._images += len(predictions)
        if self._images >= WINDOW:
            self._last, self._counts, self._images = self._counts.statistics(), Counts(self._exits), 0

    def alerts(self) -> int:
        return len(drift_alerts(self._last or self._counts.statistics(), self._point))


class _DriftCollector(Collector):
    """Computed when it is asked for."""

    def __init__(self, windows: Mapping[str, _Window]) -> None:
        self._windows = windows

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "edgemate_drift_alerts",
            "Fractions of exits, and the mean probability, outside their calibrated ranges.",
            labels=["policy"],
        )
        for name, window in self._windows.items():
            family.add_metric([name], window.alerts())
        return [family]
