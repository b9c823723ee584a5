"""How long it takes to stop at each exit, as it goes when images stop at different ones."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.latency_tables import QUANTILES, LatencyTable, StopTimes
from edgemate.machine import machine_metadata
from edgemate.policies import Confidence
from edgemate.progress import SILENT, Heartbeat, Progress
from edgemate.runtime.classifier import AnytimeClassifier
from edgemate.runtime.latency import TELL_SECONDS


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
        progress: told once a second how many are done. An uncounted round follows, as the telling disturbs.
    """
    exits = len(classifier.exits)
    # At 0 every probability stops, at 1 none does.
    policies = [Confidence([1.0] * exit + [0.0] * (exits - 1 - exit)) for exit in range(exits)]
    samples = np.empty((repeats, exits))
    random = np.random.default_rng(0)
    heartbeat = Heartbeat(TELL_SECONDS)
    for repeat in range(-warmup, repeats):
        row = repeat % len(images)
        if heartbeat.due():
            progress.advance(max(repeat, 0), repeats)
            for policy in policies:
                classifier.classify(images[row : row + 1], policy)
        for exit in random.permutation(exits).tolist():
            started = time.perf_counter_ns()
            classifier.classify(images[row : row + 1], policies[exit])
            if repeat >= 0:
                samples[repeat, exit] = (time.perf_counter_ns() - started) * 1e-6
    segment_ms = classifier.measure_segments(repeats=repeats)
    return LatencyTable(
        device=device,
        machine=machine_metadata(()),
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
