"""Timing calls: warm-up, repeats, and the figures that matter."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from edgemate.progress import SILENT, Heartbeat, Progress

Key = TypeVar("Key")

TELL_SECONDS = 1.0


@dataclass(frozen=True)
class Latency:
    """Median, 90th and 99th percentile and mean of `repeats` calls, in milliseconds."""

    p50: float
    p90: float
    p99: float
    mean: float
    repeats: int

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Latency:
        """The summary of single calls' milliseconds."""
        p50, p90, p99 = np.percentile(milliseconds, (50, 90, 99)).tolist()
        return cls(p50, p90, p99, float(np.mean(milliseconds)), len(milliseconds))


def measure(call: Callable[[], object], *, warmup: int = 20, repeats: int = 200) -> Latency:
    """Time `call` alone, after `warmup` calls that are not counted."""
    return measure_alternately({"call": call}, warmup=warmup, repeats=repeats)["call"]


def measure_alternately(
    calls: Mapping[Key, Callable[[], object]], *, warmup: int = 20, repeats: int = 200, progress: Progress = SILENT
) -> dict[Key, Latency]:
    """Time several calls in turn, so that whatever else the machine does falls on all of them alike.

    Args:
        calls: what to time.
        warmup: rounds that are not counted.
        repeats: rounds that are.
        progress: told once a second how many are done. A round that is not counted follows, as the telling disturbs.
    """
    heartbeat = Heartbeat(TELL_SECONDS)
    for _ in range(warmup):
        for call in calls.values():
            call()
    samples: dict[Key, list[float]] = {key: [] for key in calls}
    for done in range(repeats):
        if heartbeat.due():
            progress.advance(done, repeats)
            for call in calls.values():
                call()
        for key, call in calls.items():
            started = time.perf_counter_ns()
            call()
            samples[key].append((time.perf_counter_ns() - started) * 1e-6)
    return {key: Latency.of(milliseconds) for key, milliseconds in samples.items()}
