"""What a solver of thresholds works on: how sure every exit is of every image, if it is right, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.calibration.goals import Goal
from edgemate.calibration.stored_split import StoredSplit
from edgemate.policies import scores
from edgemate.policies.score_policy import ScorePolicy

Array = npt.NDArray[Any]
Cuts = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Problem:
    """An image stops at the first exit whose sureness is above the exit's cut.

    Attributes:
        sureness: float32 `(N, K-1)`, higher is surer; -inf where a logit is no number, at which nothing stops.
        correct: bool `(N, K)`.
        costs: float64 `(K,)`.
        lowest: the lowest cut there may be.
        never: the cut that nothing is above.
    """

    sureness: Array
    correct: npt.NDArray[np.bool_]
    costs: npt.NDArray[np.float64]
    lowest: float
    never: float

    @classmethod
    def of(cls, split: StoredSplit, measure: type[ScorePolicy]) -> Problem:
        """With the score of a policy as sureness; that of entropy is its negative."""
        sureness = np.empty((split.images, split.exits - 1), dtype=np.float32)
        for exit in range(1, split.exits):
            logits = split.early(exit)
            finite = scores.finite(logits)
            score = measure.score(np.where(finite[:, None], logits, 0))
            sureness[:, exit - 1] = np.where(finite, score if measure.rises else -score, -np.inf)
        highest_entropy = math.log(split.logits.shape[2])
        lowest, never = (0.0, measure.highest) if measure.rises else (-1.0 - highest_entropy, 0.0)
        return cls(sureness, split.correct, np.asarray(split.costs, dtype=np.float64), lowest, never)

    @property
    def early(self) -> int:
        """K-1."""
        return int(self.sureness.shape[1])

    @property
    def full_accuracy(self) -> float:
        """That of the last exit."""
        return float(self.correct[:, -1].mean())

    def stops(self, cuts: Sequence[float]) -> npt.NDArray[np.intp]:
        """The exit of each image, counted from 0: `(N,)`."""
        over = self.sureness > np.asarray(cuts, dtype=np.float32)
        return np.where(over.any(axis=1), over.argmax(axis=1), self.early) if self.early else np.zeros(len(over), int)

    def outcome(self, cuts: Sequence[float]) -> tuple[float, float]:
        """Accuracy and mean cost."""
        stops = self.stops(cuts)
        return float(self.correct[np.arange(len(stops)), stops].mean()), float(self.costs[stops].mean())

    def rank(self, cuts: Sequence[float], goal: Goal) -> tuple[float, ...]:
        """How well `cuts` reach the goal: lower is better."""
        return goal.rank(*self.outcome(cuts), self.full_accuracy)

    def between(self, upper: float, lower: float) -> float:
        """A float32 cut below `upper` and at or above `lower`, halfway, so that rounding elsewhere moves no image."""
        top, bottom = np.float32(min(upper, self.never)), np.float32(max(lower, self.lowest))
        halfway = bottom + (top - bottom) / np.float32(2)
        return float(halfway) if halfway < np.float32(upper) else float(bottom)


def thresholds(measure: type[ScorePolicy], cuts: Sequence[float]) -> tuple[float, ...]:
    """The thresholds of a policy that stops where its sureness is above `cuts`."""
    return tuple(float(cut) if measure.rises else abs(float(cut)) for cut in cuts)
