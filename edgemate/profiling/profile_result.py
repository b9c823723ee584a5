"""The result of `edgemate profile`, as stored in `profile.json` and `tradeoff.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from edgemate.profiling.counts import Counts
from edgemate.profiling.less_accurate import less_accurate_json
from edgemate.runtime import slower_than_later
from edgemate.timing import Latency

Curve = Literal["accuracy-macs", "accuracy-latency"]
Kind = Literal["threshold", "operating point", "fixed exit", "full network"]


@dataclass(frozen=True)
class ExitProfile:
    """One exit, for one image. Figures are of the exit's prefix unless stated otherwise.

    Attributes:
        exit: k, 1-based.
        name: name of its cut point.
        macs: MACs of the prefix.
        flops: 2 × macs.
        chained_macs: MACs of segments 1 … k, every earlier head included.
        parameters: parameters of the prefix.
        peak_activation_bytes: most bytes of float32 activations alive at once in the prefix.
        accuracy: top-1 on the test split, in [0, 1], from stored logits.
        top5: top-5 likewise; None for 5 classes or fewer.
        ece: expected calibration error on the test split, in [0, 1], 15 bins.
        pytorch: the prefix in PyTorch, ms.
        onnxruntime_prefix: the prefix in ONNX Runtime, ms.
        onnxruntime_segments: segments 1 … k in ONNX Runtime, ms.
    """

    exit: int
    name: str
    macs: int
    flops: int
    chained_macs: int
    parameters: int
    peak_activation_bytes: int
    accuracy: float
    top5: float | None
    ece: float
    pytorch: Latency
    onnxruntime_prefix: Latency
    onnxruntime_segments: Latency


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a trade-off curve, and one row of `tradeoff.csv`.

    Attributes:
        curve: the curve that the point belongs to.
        kind: a threshold of the sweep, an operating point that was calibrated on the calibration split, a fixed exit
            (its prefix), or the full network (the last exit's prefix).
        name: name of the operating point; else empty.
        threshold: confidence that stops an image; None without a policy.
        exit: the fixed exit; None with a policy.
        accuracy: top-1 in [0, 1].
        macs: mean MACs per image.
        flops: 2 × macs.
        latency_ms: mean over images at batch 1 of the median of five passes; None if simulated.
        latency_p50_ms: median over images.
        latency_p99_ms: 99th percentile over images.
        images: number of test images.
        provenance: simulated (computed from stored logits) or measured (run with early exit, and timed).
    """

    curve: Curve
    kind: Kind
    name: str = ""
    threshold: float | None = None
    exit: int | None = None
    accuracy: float
    macs: float
    flops: float
    latency_ms: float | None = None
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    images: int
    provenance: Literal["simulated", "measured"]


@dataclass(frozen=True)
class Profile:
    """All results of a run.

    Attributes:
        run: name of the run.
        machine: metadata of the machine that the latencies were measured on.
        threads: CPU threads of PyTorch and of ONNX Runtime.
        ensemble_accuracy: top-1 on the test split of the mean of all exits' probabilities.
        exits: one entry per exit.
        points: points of both trade-off curves.
        skipped_operators: operator → number of occurrences; MACs do not include these.
        counts: bytes, layers, uncounted operators and estimated floors; None where no network can be counted.
    """

    run: str
    machine: dict[str, Any]
    threads: int
    ensemble_accuracy: float
    exits: tuple[ExitProfile, ...]
    points: tuple[Point, ...]
    skipped_operators: dict[str, int]
    counts: Counts | None = None

    @property
    def not_monotone(self) -> dict[str, list[int]]:
        """Name of each latency of `ExitProfile` → the exits whose median is above that of a later exit."""
        columns = ("pytorch", "onnxruntime_prefix", "onnxruntime_segments")
        return {name: slower_than_later([getattr(exit, name).p50 for exit in self.exits]) for name in columns}

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON values; latencies in ms."""
        return {
            **asdict(replace(self, counts=None)),
            "counts": None if self.counts is None else self.counts.to_json(),
            "not_monotone": self.not_monotone,
            "less_accurate": less_accurate_json(self.exits),
        }


def points_csv(points: Sequence[Point]) -> str:
    """The points as CSV, a header first; a value that is None is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Point)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in points)
    return text.getvalue()
