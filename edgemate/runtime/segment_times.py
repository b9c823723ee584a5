"""How long each segment takes on this machine, which a deadline needs to know."""

from __future__ import annotations

from time import perf_counter_ns

import numpy as np

from edgemate.latency_tables import LatencyTable, matching_latency_table
from edgemate.policies import Confidence
from edgemate.policies.scores import finite_of
from edgemate.runtime.backends.base import Array
from edgemate.runtime.batch_path import predictions
from edgemate.runtime.network import FAILURES, Network
from edgemate.runtime.single_path import RowAnswers
from edgemate.timing import Latency


class SegmentTimes:
    """The times of a network's segments, by batch size: of the bundle's latency table, else measured when first met.

    Args:
        network: with any layout; what measures needs `segments`.
        device: the device that the operating points were chosen for, or None.
    """

    def __init__(self, network: Network, device: str | None) -> None:
        self._network = network
        self._device = device
        self._known: dict[int, tuple[float, ...]] = {}

    def latency_table(self) -> LatencyTable | None:
        """See `AnytimeClassifier.latency_table`."""
        network = self._network
        return matching_latency_table(network.bundle, network.backend.metadata(), self._device)

    def of(self, batch: int) -> tuple[float, ...]:
        """Milliseconds, `(K,)`; where they cannot be measured and that is no error, all 0."""
        if batch not in self._known:
            table = self.latency_table() if batch == 1 else None
            try:
                self._known[batch] = self.measure(batch, 100) if table is None else table.segment_ms
            except FAILURES:
                if not self._network.degrades:
                    raise
                # So the time that has passed decides, and then the failure.
                return (0.0,) * self._network.exits
        return self._known[batch]

    def is_known(self, batch: int) -> bool:
        """Whether `of` will say the same again."""
        return batch in self._known

    def measure(self, batch: int, repeats: int) -> tuple[float, ...]:
        """See `AnytimeClassifier.measure_segments`."""
        self._network.need_open()
        self._network.need_segments("measure_segments")
        contract = self._network.bundle.manifest.input
        images = np.zeros(contract.shape(batch), dtype=contract.dtype)
        samples = np.empty((repeats, self._network.exits))
        for repeat in range(-max(repeats // 10, 1), repeats):  # the first ones, not counted, warm up
            times = self._time_one(images) if batch == 1 else self._time_batch(images)
            if repeat >= 0:
                samples[repeat] = times
        return tuple(Latency.of(samples[:, exit].tolist()).p99 for exit in range(self._network.exits))

    def _time_batch(self, images: Array) -> list[float]:
        network = self._network
        decider = _NEVER.begin(len(images), network.exits)
        flow = network.backend.begin(images)
        times = []
        for exit in range(1, network.exits + 1):
            started = perf_counter_ns()
            logits = flow.advance()
            if exit < network.exits:
                decider.stop(exit, logits, 0.0)
            predictions(network, logits, exit, started, counted=False)
            times.append((perf_counter_ns() - started) * 1e-6)
        return times

    def _time_one(self, image: Array) -> list[float]:
        network = self._network
        answers = RowAnswers(network)
        decider = _NEVER.single(network.exits)()
        flow = network.backend.begin_one(image)
        times = []
        try:
            for exit in range(1, network.exits + 1):
                started = perf_counter_ns()
                row = flow.advance()
                finite = finite_of(row)
                if exit < network.exits and finite:
                    decider.stop(exit, row, 0.0)
                answers.of(row.copy(), exit, started, finite=finite)
                times.append((perf_counter_ns() - started) * 1e-6)
        finally:
            flow.end()
        return times


_NEVER = Confidence(Confidence.highest)
