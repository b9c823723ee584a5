"""`Subject`: what the page shows of one run or bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.bundle import CALIBRATION_FILE, Bundle
from edgemate.bundle.versioned_json import read_versioned
from edgemate.calibration import (
    CalibrationOptions,
    OperatingPoint,
    OperatingPoints,
    StoredSplit,
    calibrate,
    read_operating_points,
)
from edgemate.calibration.operating_points import FORMAT_VERSION, POLICIES_FILE, REMEDY
from edgemate.errors import UsageError
from edgemate.policies import Confidence
from edgemate.profiling.at_thresholds import fitted_temperatures
from edgemate.profiling.scored_images import ScoredImages, Split, source_of
from edgemate.profiling.stop_costs import StopCosts
from edgemate.runs import Run
from edgemate.runtime.preprocessing import ImageInput

Array = npt.NDArray[Any]
NEVER = -1.0
"""The confidence of an image whose logits are not finite: below every threshold, so that it never stops there."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A run on its test split; a bundle on labeled images that were given, or else on its own calibration split.

    Attributes:
        opened: the run or bundle.
        name: its name.
        split: of the logits.
        data: the folder or file that has the images given; None for another split, or if it is unknown.
        given: the images given; None for another split.
        logits: float32 `(N, K, C)`, or float16; those of a run may be mapped from a file.
        labels: int `(N,)`.
        calibration: logits and labels of the calibration split; None for a bundle without them.
        classes: names, `(C,)`.
        cuts: names of the exits' cut points, `(K,)`.
        profile: its profile as JSON values.
        points: its operating points.
        temperatures: what calibration fits to every exit but the last, `(K-1,)`; 1 without a calibration split.
    """

    opened: Run | Bundle
    name: str
    split: Split
    logits: Array
    labels: Array
    calibration: tuple[Array, Array] | None
    classes: tuple[str, ...]
    cuts: tuple[str, ...]
    profile: Mapping[str, Any]
    points: tuple[OperatingPoint, ...]
    temperatures: tuple[float, ...]
    data: str | None = None
    given: Sequence[ImageInput] | None = None

    @classmethod
    def of(cls, opened: Run | Bundle, profile: Mapping[str, Any], scored: ScoredImages | None = None) -> Subject:
        """Read what the page needs beside the profile.

        Args:
            opened: the run or bundle.
            profile: its profile as JSON values.
            scored: the images that the profile of a bundle scored, if some were given.

        Raises:
            RunError, BundleError: a file cannot be read.
            UsageError: the profile is of a network with another number of exits.
        """
        exits = len(opened.read_metadata().cuts) if isinstance(opened, Run) else len(opened.manifest.exits)
        if len(profile["exits"]) != exits:
            raise UsageError(f"{opened.path}: has {exits} exits, its profile {len(profile['exits'])}; profile it again")
        return _of_run(opened, profile) if isinstance(opened, Run) else _of_bundle(opened, profile, scored)

    @property
    def kind(self) -> str:
        """`run` or `bundle`."""
        return "run" if isinstance(self.opened, Run) else "bundle"

    @property
    def source(self) -> str:
        """What its accuracies are of, such as `the test split`."""
        return source_of(self.split, self.data)

    @property
    def images(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def exits(self) -> int:
        """K."""
        return int(self.logits.shape[1])

    @property
    def costs(self) -> StopCosts:
        """What it costs to stop at each exit."""
        return StopCosts.of(self.profile)

    @cached_property
    def stored(self) -> StoredSplit:
        """The split with its costs in MACs. What is computed of its logits is computed once."""
        return StoredSplit(self.logits, self.labels, self.costs.macs)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each exit is right: `(N, K)`."""
        return self.stored.correct

    def confidences(self) -> npt.NDArray[np.float32]:
        """What the policy compares with its thresholds, at the temperatures: `(K-1, N)`."""
        found: npt.NDArray[np.float32] = self.stored.reductions.scores(Confidence, self.temperatures).T
        found[np.isnan(found)] = NEVER
        return found

    def thresholds_of(self, point: OperatingPoint) -> tuple[float, ...] | None:
        """The thresholds `(K-1,)` of an operating point on these confidences; None for another kind of policy."""
        policy = point.as_policy()
        if policy.fixed_exit == self.exits:
            return (1.0,) * (self.exits - 1)
        if isinstance(policy, Confidence) and policy.temperatures(self.exits) == self.temperatures:
            return policy.thresholds(self.exits)
        return None


def accuracy_title(subjects: Sequence[Subject]) -> str:
    """The title of an axis of their accuracies, with what these are of if that is the same for all."""
    sources = {source_of(subject.split) for subject in subjects}
    return f"top-1 accuracy, {sources.pop()}" if len(sources) == 1 else "top-1 accuracy"


def _of_run(run: Run, profile: Mapping[str, Any]) -> Subject:
    metadata = run.read_metadata()
    calibration, test = run.read_logits("calibration"), run.read_logits("test")
    if run.policies_path.is_file():
        points = read_versioned(run.policies_path, OperatingPoints, FORMAT_VERSION, remedy=REMEDY).points
    else:
        points = calibrate(*calibration, StopCosts.of(profile).macs, CalibrationOptions()).points.points
    return Subject(
        opened=run,
        name=run.name,
        split="test",
        logits=test.logits,
        labels=test.labels,
        calibration=(calibration.logits, calibration.labels),
        classes=metadata.classes,
        cuts=metadata.cuts,
        profile=profile,
        points=points,
        temperatures=fitted_temperatures(*calibration),
    )


def _of_bundle(bundle: Bundle, profile: Mapping[str, Any], scored: ScoredImages | None) -> Subject:
    calibration = None
    if scored is None or bundle.has(CALIBRATION_FILE):
        bundle.check(CALIBRATION_FILE)
        stored = bundle.calibration()
        calibration = (stored.logits, stored.labels)
    if scored is not None:
        logits, labels = scored.logits, scored.labels
    else:
        assert calibration is not None
        logits, labels = calibration
    exits = len(bundle.manifest.exits)
    return Subject(
        opened=bundle,
        name=bundle.manifest.name,
        split="calibration" if scored is None else "images",
        logits=logits,
        labels=labels,
        calibration=calibration,
        classes=tuple(bundle.manifest.classes),
        cuts=tuple(exit["name"] for exit in profile["exits"]),
        profile=profile,
        points=read_operating_points(bundle).points if bundle.has(POLICIES_FILE) else (),
        temperatures=(1.0,) * (exits - 1) if calibration is None else fitted_temperatures(*calibration),
        data=None if scored is None else profile.get("data"),
        given=None if scored is None else scored.images,
    )
