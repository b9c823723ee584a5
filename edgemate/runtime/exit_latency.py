"""What it takes to answer at each exit: measured, segments and prefixes in turn."""

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
    """The time to an exit's answer: segments 1 to `exit` one after another, and the one graph of its prefix.

    Either is None where the bundle has no such graphs, but not both.
    """

    exit: int
    segments: Latency | None
    prefix: Latency | None

    @property
    def ratio(self) -> float | None:
        """How many times the prefix's median the segments' is: what it costs that stopping was possible on the way."""
        return None if self.segments is None or self.prefix is None else self.segments.p50 / self.prefix.p50

    @property
    def answer(self) -> Latency:
        """The time to this exit's answer as the bundle gives it: by segments if it has them."""
        found = self.segments or self.prefix
        assert found is not None
        return found


def slower_than_later(times: Sequence[float]) -> list[int]:
    """The exits, counted from 1, that took longer than a later one `(K,)`, as no network does on an idle machine."""
    return [k for k in range(1, len(times)) if times[k - 1] > min(times[k:])]


def measure_exits(
    segments: AnytimeClassifier | None,
    prefixes: AnytimeClassifier | None,
    images: npt.NDArray[Any],
    *,
    warmup: int = 20,
    repeats: int = 200,
    progress: Progress = SILENT,
) -> list[ExitLatency]:
    """Time the answer at every exit on one batch.

    Args:
        segments: the bundle, loaded with layout `segments`; None if it has none.
        prefixes: the same bundle, loaded with layout `prefixes`; None if it has none.
        images: ready float32 `(N, channels, height, width)`, classified as one batch.
        warmup: rounds that are not counted.
        repeats: rounds that are; in each, every exit is timed once in each layout.
        progress: receives the number of rounds done.
    """
    classifiers = [classifier for classifier in (segments, prefixes) if classifier is not None]
    exits = range(1, len(classifiers[0].exits) + 1)
    calls: dict[tuple[str, int], Callable[[], object]] = {}
    for exit in exits:
        for classifier in classifiers:
            calls[classifier.layout, exit] = partial(
                classifier.classify, images, FixedExit(exit), batch_size=len(images)
            )
    found = measure_alternately(calls, warmup=warmup, repeats=repeats, progress=progress)
    return [ExitLatency(exit, found.get(("segments", exit)), found.get(("prefixes", exit))) for exit in exits]
