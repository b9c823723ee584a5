"""What it takes to stop at each exit: measured, segments and prefixes in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy.typing as npt

from edgemate.policies import FixedExit
from edgemate.progress import SILENT, Progress
from edgemate.runtime.classifier import AnytimeClassifier
from edgemate.timing import Latency, measure_alternately


@dataclass(frozen=True)
class ExitLatency:
    """The time to an exit's answer: segments 1 to `exit` one after another, and the one graph of its prefix."""

    exit: int
    segments: Latency
    prefix: Latency

    @property
    def ratio(self) -> float:
        """How many times the prefix's median the segments' is: what it costs that stopping was possible on the way."""
        return self.segments.p50 / self.prefix.p50


def slower_than_later(times: Sequence[float]) -> list[int]:
    """The exits, counted from 1, that took longer than a later one `(K,)`, as no network does on an idle machine."""
    return [k for k in range(1, len(times)) if times[k - 1] > min(times[k:])]


def measure_exits(
    segments: AnytimeClassifier,
    prefixes: AnytimeClassifier,
    images: npt.NDArray[Any],
    *,
    warmup: int = 20,
    repeats: int = 200,
    progress: Progress = SILENT,
) -> list[ExitLatency]:
    """Time the answer at every exit on one batch.

    Args:
        segments: the bundle, loaded with layout `segments`.
        prefixes: the same bundle, loaded with layout `prefixes`.
        images: ready float32 `(N, channels, height, width)`, classified as one batch.
        warmup: rounds that are not counted.
        repeats: rounds that are; in each, every exit is timed once in both layouts.
        progress: receives the number of rounds done.
    """
    exits = range(1, len(segments.exits) + 1)
    calls: dict[tuple[str, int], Callable[[], object]] = {}
    for exit in exits:
        for classifier in (segments, prefixes):
            calls[classifier.layout, exit] = partial(
                classifier.classify, images, FixedExit(exit), batch_size=len(images)
            )
    found = measure_alternately(calls, warmup=warmup, repeats=repeats, progress=progress)
    return [ExitLatency(exit, found["segments", exit], found["prefixes", exit]) for exit in exits]
