"""`Outcomes`: what thresholds do to the images of a subject, for many thresholds and several costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgemate.report.subject import Subject


class Outcome(NamedTuple):
    """Where the images of a subject leave.

    Attributes:
        counts: images that leave at each exit, int64 `(K,)`.
        accuracy: top-1 in [0, 1].
    """

    counts: npt.NDArray[np.int64]
    accuracy: float

    def mean_cost(self, costs: Sequence[float]) -> float:
        """The mean of `costs` `(K,)` over the images."""
        return math.fsum(self.counts * np.asarray(costs, dtype=np.float64)) / int(self.counts.sum())


class Outcomes:
    """The same as `edgemate.calibration.simulate` with a `Confidence` policy at the subject's temperatures.

    The probabilities of all classes are computed once, and not for each threshold and cost, which takes minutes with
    a thousand classes.
    """

    def __init__(self, subject: Subject) -> None:
        self._confidences = subject.confidences()
        self._correct = subject.correct

    def at(self, thresholds: Sequence[float]) -> Outcome:
        """The outcome of one threshold per exit but the last, `(K-1,)`, compared as float32."""
        images, exits = self._correct.shape
        taken = np.full(images, exits - 1)
        for k in reversed(range(exits - 1)):
            taken[self._confidences[k] > np.float32(thresholds[k])] = k
        right = self._correct[np.arange(images), taken]
        return Outcome(np.bincount(taken, minlength=exits), float(np.mean(right)))
