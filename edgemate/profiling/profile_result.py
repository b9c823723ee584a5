"""What `edgemate profile` finds, as data: `profile.json` and the rows of `tradeoff.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from edgemate.runtime import slower_than_later
from edgemate.timing import Latency

Curve = Literal["accuracy-macs", "accuracy-latency"]
Kind = Literal["threshold", "operating point", "fixed exit", "full network"]


@dataclass(frozen=True)
class ExitProfile:
    """One exit, used as the only one unless it says otherwise, for one image.

    Attributes:
        exit: k, 1-based.
        name: of its cut point.
        macs: MACs of the prefix.
        flops: 2 × macs.
        chained_macs: MACs of segments 1 … k, every earlier head included.
        parameters: parameters of the prefix.
        peak_activation_bytes: most bytes of float32 activations alive at once in the prefix.
        accuracy: top-1 on the test split, in [0, 1], from stored logits.
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
    ece: float
    pytorch: Latency
    onnxruntime_prefix: Latency
    onnxruntime_segments: Latency


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a trade-off curve, and one row of `tradeoff.csv`.

    Attributes:
        curve: which curve.
        kind: a threshold of the display sweep, an operating point whose threshold was chosen on the calibration split,
            one exit for every image (a prefix), or the same at the last exit.
        name: of the operating point; else empty.
        threshold: confidence that stops an image; None without a policy.
        exit: the only exit that answers; None with a policy.
        accuracy: top-1 in [0, 1].
        macs: mean MACs per image.
        flops: 2 × macs.
        latency_ms: mean over images at batch 1, of each the median of five runs; None where nothing was run.
        latency_p50_ms: median.
        latency_p99_ms: 99th percentile.
        images: how many test images this is of.
        provenance: simulated (scored from stored logits) or measured (the work was really skipped, on a clock).
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
    """Everything found of a run.

    Attributes:
        run: its name.
        machine: metadata of the machine the times were taken on.
        threads: CPU threads that PyTorch and ONNX Runtime each had.
        ensemble_accuracy: top-1 on the test split of the mean of all exits' probabilities.
        exits: one entry per exit.
        points: of both trade-off curves.
        skipped_operators: operator → times it occurs; MACs leave these out.
    """

    run: str
    machine: dict[str, Any]
    threads: int
    ensemble_accuracy: float
    exits: tuple[ExitProfile, ...]
    points: tuple[Point, ...]
    skipped_operators: dict[str, int]

    @property
    def not_monotone(self) -> dict[str, list[int]]:
        """Each latency of `ExitProfile` → the exits whose median is above that of a later one."""
        columns = ("pytorch", "onnxruntime_prefix", "onnxruntime_segments")
        return {name: slower_than_later([getattr(exit, name).p50 for exit in self.exits]) for name in columns}

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON values; latencies in ms."""
        return {**asdict(self), "not_monotone": self.not_monotone}


def points_csv(points: Sequence[Point]) -> str:
    """The points as CSV, a header first; a value that is None is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Point)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in points)
    return text.getvalue()
