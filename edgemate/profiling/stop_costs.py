"""`StopCosts`: what it costs to stop at each exit, as a profile has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.latency_tables import QUANTILES

_MEDIAN = QUANTILES.index(50)
_LIBRARIES = {
    "onnxruntime": "ONNX Runtime",
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT-RTX",
    "pytorch-cpu": "PyTorch",
    "pytorch-cuda": "PyTorch on CUDA",
}


@dataclass(frozen=True)
class StopCosts:
    """The cost of stopping at each exit after running all segments before it, at batch 1.

    Times are those to stop at an exit, decisions included, where the profile has them; else those of the segments.

    Attributes:
        macs: chained MACs, `(K,)`.
        milliseconds: median latency, made to rise from exit to exit; None if it was not measured.
        millijoules: energy per image, made to rise likewise; None if it was not measured.
        measured_with: the library that the latency and energy are of, for display.
    """

    macs: tuple[float, ...]
    milliseconds: tuple[float, ...] | None = None
    millijoules: tuple[float, ...] | None = None
    measured_with: str = "ONNX Runtime"

    @classmethod
    def of(cls, profile: Mapping[str, Any]) -> StopCosts:
        """The costs in a profile's JSON."""
        exits = profile["exits"]
        macs = tuple(float(exit["chained_macs"]) for exit in exits)
        timings = [timing for timing in profile.get("timings") or () if timing["batch"] == 1]
        stops = profile.get("stop_times") or {}
        for library in dict.fromkeys(("onnxruntime", *stops, *(timing["library"] for timing in timings))):
            chain = {
                timing["exit"]: timing["latency"]["p50"]
                for timing in timings
                if (timing["library"], timing["graphs"]) == (library, "segments")
            }
            chain |= {stop["exit"]: stop["quantiles_ms"][_MEDIAN] for stop in stops.get(library, ())}
            if len(chain) == len(exits):
                times = [chain[k] for k in sorted(chain)]
                return cls(macs, _rising(times), _energies(timings, library), _LIBRARIES.get(library, library))
        if all((exit.get("onnxruntime_segments") or {}).get("p50") is not None for exit in exits):
            return cls(macs, _rising([exit["onnxruntime_segments"]["p50"] for exit in exits]))
        return cls(macs)

    def p99_ms(self, fractions: Sequence[float], images: int) -> float | None:
        """The 99th percentile over images of the latency of the exit that each takes: the lowest that 99 % keep within.

        Nothing is assumed of the order of the latencies.

        Args:
            fractions: of the images that stop at each exit, `(K,)`.
            images: how many these are of.
        """
        if self.milliseconds is None:
            return None
        counts = np.rint(np.asarray(fractions) * images).astype(np.int64)
        return weighted_p99(self.milliseconds, counts.tolist())

    def mean(self, costs: Sequence[float] | None, exits_taken: npt.NDArray[np.intp]) -> float | None:
        """The mean of `costs` `(K,)` over images that took these exits, 1-based `(N,)`."""
        if costs is None:
            return None
        counts = np.bincount(exits_taken - 1, minlength=len(costs))
        return float(np.dot(counts, costs)) / len(exits_taken)


def weighted_p99(values: Sequence[float], counts: Sequence[int]) -> float:
    """The lowest value that at least 99 % of all items do not exceed.

    Args:
        values: in any order, `(K,)`.
        counts: how many items have each value, `(K,)`; at least one in all.
    """
    total, reached = sum(counts), 0
    for value, count in sorted(zip(values, counts, strict=True)):
        reached += count
        if 0 < 99 * total <= 100 * reached:
            return value
    raise ValueError("no items")


def _energies(timings: Sequence[Mapping[str, Any]], library: str) -> tuple[float, ...] | None:
    found = {
        timing["exit"]: timing["energy"]["millijoules"]
        for timing in timings
        if (timing["library"], timing["graphs"], timing["batch"]) == (library, "segments", 1) and timing.get("energy")
    }
    exits = {timing["exit"] for timing in timings}
    return _rising([found[k] for k in sorted(found)]) if found and set(found) == exits else None


def _rising(values: Sequence[float]) -> tuple[float, ...]:
    """Noise can let a measured time fall from one exit to the next, which no network's work does."""
    return tuple(np.maximum.accumulate(np.asarray(values, dtype=np.float64)).tolist())
