"""How long it takes to stop at each exit, as it goes when images stop at different ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.latency_tables import QUANTILES, LatencyTable, StopTimes
from edgemate.machine import machine_metadata
from edgemate.policies import Confidence
from edgemate.progress import SILENT, Progress
from edgemate.runtime.classifier import AnytimeClassifier
from edgemate.sensors.speed import read_speed_settings
from edgemate.timing import time_rounds


def measure_stops(
    classifier: AnytimeClassifier,
    images: npt.NDArray[Any],
    *,
    device: str,
    warmup: int = 20,
    repeats: int = 200,
    progress: Progress = SILENT,
) -> LatencyTable:
    """The latency table of this device: whole calls at batch 1, every exit's decision made.

    All exits take turns, in an order drawn anew for each round, since what ran before decides what is in the caches.

    Args:
        classifier: the bundle, loaded with layout `segments`.
        images: ready float32 `(N, channels, height, width)`, taken in turn.
        device: the table's tag.
        warmup: rounds that are not counted.
        repeats: rounds that are.
        progress: see `edgemate.timing.time_rounds`.
    """
    exits = len(classifier.exits)
    # At 0 every probability stops, at 1 none does.
    policies = [Confidence([1.0] * exit + [0.0] * (exits - 1 - exit)) for exit in range(exits)]

    def calls(number: int) -> dict[int, Callable[[], object]]:
        row = number % len(images)
        image = images[row : row + 1]
        return {exit: partial(classifier.classify, image, policy) for exit, policy in enumerate(policies)}

    random = np.random.default_rng(0)
    found = time_rounds(calls, warmup=warmup, repeats=repeats, random=random, progress=progress)
    samples = np.stack([found[exit] for exit in range(exits)], axis=1)
    segment_ms = classifier.measure_segments(repeats=repeats)
    return LatencyTable(
        device=device,
        machine={**machine_metadata(()), **read_speed_settings()},
        backend=classifier.backend.metadata(),
        measured=datetime.now(timezone.utc).replace(microsecond=0),
        repeats=repeats,
        exits=tuple(
            StopTimes(
                exit=exit + 1,
                mean_ms=float(samples[:, exit].mean()),
                quantiles_ms=tuple(np.percentile(samples[:, exit], QUANTILES).tolist()),
                segment_p99_ms=segment_ms[exit],
            )
            for exit in range(exits)
        ),
    )
