"""The result of a comparison, as stored in `comparison.json`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgemate.core.scoring import ensemble_accuracy, exit_accuracy, expected_calibration_error
from edgemate.errors import RunError
from edgemate.runs import Run, RunMetadata, Split

_PRECISIONS = ("fp32", "bf16", "fp16")
_ROWS = 10_000
"""Images whose logits are looked at together: those of a large split are mapped from the file."""


@dataclass(frozen=True)
class SplitFigures:
    """Accuracy and calibration error of one run on one split; all are fractions in [0, 1].

    Attributes:
        exits: top-1 accuracy per exit.
        mean: mean accuracy over exits.
        ensemble: top-1 accuracy of the mean of all exits' probabilities.
        ece: expected calibration error per exit, 15 bins.
        mean_ece: mean of `ece` over exits.
    """

    exits: tuple[float, ...]
    mean: float
    ensemble: float
    ece: tuple[float, ...]
    mean_ece: float


@dataclass(frozen=True)
class RunFigures:
    """The figures of one run.

    Attributes:
        seed: seeds the first weights, the order of images and the augmentation.
        run: name of the run's folder.
        test: figures on the test split.
        calibration: figures on the calibration split, which is held out of the training images.
        train_seconds: time of all epochs, including the evaluation on the calibration split after each, s.
        numerics: precision and memory format that it trained in, such as "bf16, channels_last".
    """

    seed: int
    run: str
    test: SplitFigures
    calibration: SplitFigures
    train_seconds: float
    numerics: str


@dataclass(frozen=True)
class TrialFigures:
    """A setting that a method was tried with.

    Attributes:
        number: counted from 1.
        run: the run, relative to the folder of the comparison.
        setting: key of the recipe → value; empty for the recipe's own, which is the first one of a search.
        accuracy: on the calibration split, mean over exits, a fraction; None if the loss was not finite.
    """

    number: int
    run: str
    setting: dict[str, float]
    accuracy: float | None


@dataclass(frozen=True)
class MeanAndSpread:
    """Mean and sample standard deviation over seeds; the deviation of one seed is None."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class MethodFigures:
    """One row of the table.

    Attributes:
        label: the method as the user wrote it.
        distillation: the recipe's `distillation` section with all defaults.
        macs: MACs of the prefix per exit.
        chained_macs: MACs of segments 1 … k per exit.
        runs: one per seed.
        trials: one per setting that was tried; none if nothing was tuned.
        best: number of the trial whose setting the runs have; None if nothing was tuned.
    """

    label: str
    distillation: dict[str, Any]
    macs: tuple[int, ...]
    chained_macs: tuple[int, ...]
    runs: tuple[RunFigures, ...]
    trials: tuple[TrialFigures, ...] = ()
    best: int | None = None

    @property
    def trainings(self) -> int:
        """Number of trainings: trials and runs."""
        return len(self.trials) + len(self.runs)

    @property
    def chosen(self) -> TrialFigures | None:
        """The trial whose setting the runs have; None if nothing was tuned."""
        return None if self.best is None else self.trials[self.best - 1]

    def exit(self, k: int, split: Split = "test") -> MeanAndSpread:
        """Accuracy of exit k, 1-based."""
        return _over_seeds([self._of(run, split).exits[k - 1] for run in self.runs])

    def mean(self, split: Split = "test") -> MeanAndSpread:
        """Accuracy, mean over exits."""
        return _over_seeds([self._of(run, split).mean for run in self.runs])

    def ensemble(self, split: Split = "test") -> MeanAndSpread:
        """Accuracy of the mean of all exits' probabilities."""
        return _over_seeds([self._of(run, split).ensemble for run in self.runs])

    def ece(self, split: Split = "test") -> MeanAndSpread:
        """Expected calibration error, mean over exits."""
        return _over_seeds([self._of(run, split).mean_ece for run in self.runs])

    def seconds(self) -> MeanAndSpread:
        """Time of training, s."""
        return _over_seeds([run.train_seconds for run in self.runs])

    def _of(self, run: RunFigures, split: Split) -> SplitFigures:
        return run.test if split == "test" else run.calibration


@dataclass(frozen=True)
class Comparison:
    """All results of a comparison.

    Attributes:
        name: name of the comparison's folder.
        recipe: the sections that all runs share, with all defaults.
        machine: metadata of the machine that wrote this; a run's own is in its `environment.json`.
        jobs: number of trainings at the same time, which their seconds depend on.
        threads: CPU threads of each training.
        seeds: the seeds that every method was trained with.
        cuts: names of the cut points, one per exit.
        images: split → number of images.
        methods: one per row, in the order given.
        tuned: settings that each method was tried with; 0 if nothing was tuned.
        rates: the learning rates, where these were the settings; empty if not.
    """

    name: str
    recipe: dict[str, Any]
    machine: dict[str, Any]
    jobs: int
    threads: int
    seeds: tuple[int, ...]
    cuts: tuple[str, ...]
    images: dict[str, int]
    methods: tuple[MethodFigures, ...]
    tuned: int = 0
    rates: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the means and deviations on the test split added to each method."""
        tree = asdict(self)
        for row, method in zip(tree["methods"], self.methods, strict=True):
            row["trainings"] = method.trainings
            row["over_seeds"] = {
                "exits": [asdict(method.exit(k)) for k in range(1, len(self.cuts) + 1)],
                "mean": asdict(method.mean()),
                "ensemble": asdict(method.ensemble()),
                "ece": asdict(method.ece()),
                "train_seconds": asdict(method.seconds()),
            }
        return tree


def agreed_metadata(runs: Sequence[Run]) -> RunMetadata:
    """What all runs of a comparison know of their data.

    Raises:
        RunError: it cannot be read, or is another one in a run than in the first.
    """
    first, *others = [(run, run.read_metadata()) for run in runs]
    for split in ("train", "calibration", "test"):
        if split not in first[1].images:
            raise RunError(f"{first[0].metadata_path}: images: {split!r} is missing; train the run again")
    for run, metadata in others:
        for name in ("cuts", "classes", "images"):
            if getattr(metadata, name) != getattr(first[1], name):
                raise RunError(f"{run.metadata_path}: {name} are others than in {first[0].path}; train the run again")
    return first[1]


def figures_of(run: Run, seed: int) -> RunFigures:
    """The figures of a finished run, from its stored logits. Raises RunError if they cannot be read."""
    metrics = run.read_metrics()
    if "train_seconds" not in metrics:
        raise RunError(f"{run.metrics_path}: the key 'train_seconds' is missing; train the run again")
    seconds = float(metrics["train_seconds"])
    test, calibration = _split_figures(run, "test"), _split_figures(run, "calibration")
    return RunFigures(seed, run.name, test, calibration, seconds, _numerics(run))


def _numerics(run: Run) -> str:
    chosen = run.read_numerics()
    precision, channels_last = chosen.get("precision"), chosen.get("channels_last")
    if precision not in _PRECISIONS or not isinstance(channels_last, bool):
        raise RunError(f"{run.numerics_path}: not as training wrote it; train the run again")
    return f"{precision}, {'channels_last' if channels_last else 'contiguous'}"


def _split_figures(run: Run, split: Split) -> SplitFigures:
    logits, labels = run.read_logits(split)
    metadata = run.read_metadata()
    expected = (metadata.images[split], len(metadata.cuts), len(metadata.classes))
    if logits.shape != expected:
        found = f"logits are (images, exits, classes) {logits.shape}; the run has {expected}"
        raise RunError(f"{run.logits_path(split)}: {found}; train the run again")
    if not all(np.isfinite(logits[start : start + _ROWS]).all() for start in range(0, len(logits), _ROWS)):
        raise RunError(f"{run.logits_path(split)}: has logits that are not finite; train the run again")
    exits, ece = exit_accuracy(logits, labels), expected_calibration_error(logits, labels)
    return SplitFigures(
        tuple(exits.tolist()),
        float(exits.mean()),
        ensemble_accuracy(logits, labels),
        tuple(ece.tolist()),
        float(ece.mean()),
    )


def _over_seeds(values: Sequence[float]) -> MeanAndSpread:
    return MeanAndSpread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
