"""The result of `edgemate profile`, as stored in `profile.json` and `tradeoff.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from edgemate.latency import Latency
from edgemate.profiling.counts import Counts
from edgemate.profiling.less_accurate import less_accurate_json
from edgemate.profiling.scored_images import ScoredImages, Split
from edgemate.profiling.timings import Measurement
from edgemate.runtime import slower_than_later

FORMAT_VERSION = 1
"""Of `profile.json`. Raised when a field changes its meaning or goes; new fields do not raise it."""

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
        peak_activation_bytes: most bytes of float32 activations alive at once in the prefix; None for a bundle.
        accuracy: top-1 on the profile's split, in [0, 1].
        top5: top-5 likewise; None for 5 classes or fewer.
        ece: expected calibration error likewise, in [0, 1], 15 bins.
        pytorch: the prefix in PyTorch on the CPU at batch 1, ms; None for a bundle.
        onnxruntime_prefix: the prefix in ONNX Runtime at batch 1, ms.
        onnxruntime_segments: segments 1 … k in ONNX Runtime at batch 1, ms.
        prefix_bytes: size of the prefix's ONNX file.
        segments_bytes: size of the ONNX files of segments 1 … k.
    """

    exit: int
    name: str
    macs: int
    flops: int
    chained_macs: int
    parameters: int
    peak_activation_bytes: int | None
    accuracy: float
    top5: float | None
    ece: float
    pytorch: Latency | None
    onnxruntime_prefix: Latency
    onnxruntime_segments: Latency
    prefix_bytes: int | None = None
    segments_bytes: int | None = None


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
        latency_ms: mean over images at batch 1 of the median of five passes; None on the curve of MACs. If simulated,
            the mean of the measured times to stop at each exit, weighted by how many images stop there.
        latency_p50_ms: median over images; None if simulated.
        latency_p99_ms: 99th percentile over images; if simulated, of the mixture of those times.
        images: number of images.
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
    """All results of a run or a bundle.

    Attributes:
        run: name of the run, or of the bundle.
        machine: metadata of the machine that the latencies were measured on.
        threads: CPU threads of PyTorch and of ONNX Runtime.
        ensemble_accuracy: top-1 on the split of the mean of all exits' probabilities.
        exits: one entry per exit.
        points: points of both trade-off curves.
        skipped_operators: operator → number of occurrences; MACs do not include these. Empty for a bundle.
        kind: what was profiled.
        split: where accuracies are from: the test split of a run, the calibration split whose logits a bundle has, or
            images that were given.
        images: number of images of that split.
        batches: batch sizes that were timed; 1 is always among them.
        network: number of classes, shape (C, H, W) of the input and names of the exits, which two profiles that are
            compared have in common.
        measurement: all timings and the state of the machine.
        counts: bytes, layers, uncounted operators and estimated floors; None for a bundle.
        data: the folder or file that has the images given; None for another split, or if they were given in memory.
        scored: the images given with their logits, which the report shows; None for another split. Not in the JSON.
    """

    run: str
    machine: dict[str, Any]
    threads: int
    ensemble_accuracy: float
    exits: tuple[ExitProfile, ...]
    points: tuple[Point, ...]
    skipped_operators: dict[str, int]
    kind: Literal["run", "bundle"]
    split: Split
    images: int
    batches: tuple[int, ...]
    network: dict[str, Any]
    measurement: Measurement
    counts: Counts | None = None
    data: str | None = None
    scored: ScoredImages | None = None

    @property
    def not_monotone(self) -> dict[str, list[int]]:
        """Name of each latency of `ExitProfile` → the exits whose median is above that of a later exit."""
        columns = ("pytorch", "onnxruntime_prefix", "onnxruntime_segments")
        found = {}
        for name in columns:
            latencies = [getattr(exit, name) for exit in self.exits]
            if None not in latencies:
                found[name] = slower_than_later([latency.p50 for latency in latencies])
        return found

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON values; latencies in ms."""
        apart = ("measurement", "scored")
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in apart}
        own["exits"] = [asdict(exit) for exit in self.exits]
        own["points"] = [asdict(point) for point in self.points]
        own["counts"] = None if self.counts is None else self.counts.to_json()
        return {
            "format_version": FORMAT_VERSION,
            **own,
            "not_monotone": self.not_monotone,
            "less_accurate": less_accurate_json(self.exits),
            **self.measurement.to_json(),
        }


def points_csv(points: Sequence[Point], split: Split) -> str:
    """The points as CSV, a header first; a value that is None is an empty field. `split` is that of the accuracies."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*(field.name for field in fields(Point)), "split"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(point), "split": split} for point in points)
    return text.getvalue()
