"""What `evaluate` finds, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgemate.core.class_report import ClassReport
    from edgemate.monitoring import AccuracyGap


@dataclass(frozen=True)
class PredictedFigures:
    """What calibration predicts of an operating point.

    Attributes:
        accuracy: top-1 in [0, 1].
        drop: accuracy below the whole network's, as a fraction; None where that is not known.
        mean_ms: mean time per image at batch 1; None where no device was measured.
        p99_ms: 99th percentile of it, likewise.
        fractions: of the images that stop at each exit, `(K,)`.
        images: how many it was found on; None where that is not known.
    """

    accuracy: float
    drop: float | None
    mean_ms: float | None
    p99_ms: float | None
    fractions: tuple[float, ...]
    images: int | None

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**asdict(self), "fractions": list(self.fractions)}


@dataclass(frozen=True)
class MeasuredFigures:
    """What an operating point did with batches of one size; times in ms, of a batch unless they say otherwise.

    Attributes:
        batch: images at a time.
        accuracy: top-1 in [0, 1]; None without labels.
        drop: accuracy below the whole network's on the same images, as a fraction; None without labels.
        ms_per_image: total time over all images.
        mean_ms: mean time of a batch, from ready tensor to answers.
        p50_ms: median.
        p99_ms: 99th percentile.
        fractions: of the images that stopped at each exit, `(K,)`.
        mean_probability: of the answers.
        non_finite: times the logits of an exit were not finite.
        decode_ms: reading and decoding, per image; 0 for arrays.
        prepare_ms: from the decoded image to the network's input, per image.
        total_ms: both and `ms_per_image`.
        speedup: how many times as long the whole network takes with batches of this size; None where not measured.
        total_speedup: the same with decoding and preparing, which early exit does not shorten.
    """

    batch: int
    accuracy: float | None
    drop: float | None
    ms_per_image: float
    mean_ms: float
    p50_ms: float
    p99_ms: float
    fractions: tuple[float, ...]
    mean_probability: float
    non_finite: int
    decode_ms: float
    prepare_ms: float
    total_ms: float
    speedup: float | None
    total_speedup: float | None

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**asdict(self), "fractions": list(self.fractions)}


@dataclass(frozen=True)
class PointEvaluation:
    """An operating point: what was predicted, beside what was measured.

    Attributes:
        name: of the operating point.
        predicted: by calibration.
        measured: one entry per batch size; the first is batch 1.
        accuracy_gap: measured less predicted accuracy at batch 1, with its standard error; None without labels.
        gaps: figures with a gap worth a mark: `accuracy` (0.3 points), `mean_ms`, `p99_ms` (10 %).
        drift_alerts: one sentence for each fraction or probability that left its calibrated range.
    """

    name: str
    predicted: PredictedFigures
    measured: tuple[MeasuredFigures, ...]
    accuracy_gap: AccuracyGap | None
    gaps: tuple[str, ...]
    drift_alerts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        gap = self.accuracy_gap
        return {
            "name": self.name,
            "predicted": self.predicted.to_json(),
            "measured": [found.to_json() for found in self.measured],
            "accuracy_gap": None if gap is None else {**asdict(gap), "beyond_chance": gap.beyond_chance},
            "gaps": list(self.gaps),
            "drift_alerts": list(self.drift_alerts),
        }


@dataclass(frozen=True)
class PredictedTimes:
    """The device whose times are predicted, and in what this machine differs from it."""

    device: str
    differences: tuple[str, ...] = ()

    @property
    def comparable(self) -> bool:
        """Whether the times measured here can be compared with them."""
        return not self.differences


@dataclass(frozen=True)
class FullAccuracy:
    """Top-1 accuracy of the whole network: on the calibration split, and on these images."""

    predicted: float | None
    measured: float | None


@dataclass(frozen=True)
class Evaluation:
    """What operating points did on a split, beside what calibration predicted.

    Attributes:
        bundle: its name.
        machine: metadata of this machine.
        backend: metadata of the backend.
        images: how many were classified.
        labeled: whether their labels are known.
        full_accuracy: of the whole network.
        exits: every exit on these images, whatever the policies are; None without labels.
        predicted_times: of which device; None where no device was measured.
        warnings: one sentence each.
        points: one entry per operating point.
    """

    bundle: str
    machine: dict[str, Any]
    backend: dict[str, str]
    images: int
    labeled: bool
    full_accuracy: FullAccuracy
    predicted_times: PredictedTimes | None
    warnings: tuple[str, ...]
    points: tuple[PointEvaluation, ...]
    exits: ClassReport | None = None

    def to_json(self, *, confusion: bool = False) -> dict[str, Any]:
        """The same as JSON values; with the confusion matrices of the exits if asked for."""
        times = self.predicted_times
        return {
            "bundle": self.bundle,
            "machine": self.machine,
            "backend": self.backend,
            "images": self.images,
            "labeled": self.labeled,
            "full_accuracy": asdict(self.full_accuracy),
            "predicted_times": None if times is None else {**asdict(times), "differences": list(times.differences)},
            **({} if self.exits is None else self.exits.to_json(confusion=confusion)),
            "warnings": list(self.warnings),
            "points": [point.to_json() for point in self.points],
        }
