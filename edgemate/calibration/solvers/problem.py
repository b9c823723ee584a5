"""The input of a threshold solver: the score of every image at every exit, whether the exit is correct, its cost."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.calibration.goals import Goal
from edgemate.calibration.stored_split import StoredSplit
from edgemate.policies.score_policy import ScorePolicy

Array = npt.NDArray[Any]
Thresholds = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Problem:
    """An image stops at the first exit where its score is above the exit's threshold.

    Scores rise with confidence here. One that falls with it, as entropy does, is negated, and so are its thresholds.

    Attributes:
        scores: float32 `(N, K-1)`; -inf where a logit is not finite, so that the image does not stop.
        correct: bool `(N, K)`, whether the exit predicts the right class.
        costs: float64 `(K,)`, of stopping at each exit.
        lowest: the lowest threshold allowed.
        never: the threshold that no score is above.
        kept: results that a solver needs again for another goal; never given.
    """

    scores: Array
    correct: npt.NDArray[np.bool_]
    costs: npt.NDArray[np.float64]
    lowest: float
    never: float
    kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, split: StoredSplit, score_policy: type[ScorePolicy]) -> Problem:
        """The problem with the score of a policy; the same one for a split that only the goal differs for."""
        key = ("problem", score_policy, split.divisors, tuple(split.costs))
        return split.reductions.once(key, lambda: cls._of(split, score_policy))

    @classmethod
    def _of(cls, split: StoredSplit, score_policy: type[ScorePolicy]) -> Problem:
        found = split.reductions.scores(score_policy, split.divisors)
        if not score_policy.rises:
            np.negative(found, out=found)
        found[np.isnan(found)] = -np.inf
        largest = score_policy.largest_score(split.logits.shape[2])
        lowest, never = (0.0, score_policy.highest) if score_policy.rises else (-1.0 - largest, 0.0)
        return cls(found, split.correct, np.asarray(split.costs, dtype=np.float64), lowest, never)

    @property
    def early(self) -> int:
        """K-1, the number of exits before the last."""
        return int(self.scores.shape[1])

    @cached_property
    def full_accuracy(self) -> float:
        """The accuracy of the last exit, as a fraction."""
        return float(self.correct[:, -1].mean())

    @cached_property
    def order(self) -> tuple[npt.NDArray[np.intp], ...]:
        """For each exit but the last the images by their score, highest first, equal ones in their own order."""
        return tuple(np.argsort(-self.scores[:, exit], kind="stable") for exit in range(self.early))

    def stops(self, thresholds: Sequence[float]) -> npt.NDArray[np.intp]:
        """The exit at which each image stops, counted from 0: int `(N,)`."""
        found = np.full(len(self.scores), self.early, dtype=np.intp)
        for exit in reversed(range(self.early)):
            found[self.scores[:, exit] > np.float32(thresholds[exit])] = exit
        return found

    def outcome(self, thresholds: Sequence[float]) -> tuple[float, float]:
        """Accuracy, as a fraction, and mean cost per image."""
        key = ("outcome", *thresholds)
        if key not in self.kept:
            self.kept[key] = self._outcome(thresholds)
        found: tuple[float, float] = self.kept[key]
        return found

    def _outcome(self, thresholds: Sequence[float]) -> tuple[float, float]:
        stops = self.stops(thresholds)
        return float(self.correct[np.arange(len(stops)), stops].mean()), float(self.costs[stops].mean())

    def rank(self, thresholds: Sequence[float], goal: Goal) -> tuple[float, ...]:
        """How well `thresholds` reach the goal: lower is better."""
        return goal.rank(*self.outcome(thresholds), self.full_accuracy)

    def between(self, upper: float, lower: float) -> float:
        """A float32 threshold halfway between `lower` and `upper`, so that rounding elsewhere moves no image."""
        top, bottom = np.float32(min(upper, self.never)), np.float32(max(lower, self.lowest))
        halfway = bottom + (top - bottom) / np.float32(2)
        return float(halfway) if halfway < np.float32(upper) else float(bottom)


def policy_thresholds(score_policy: type[ScorePolicy], thresholds: Sequence[float]) -> tuple[float, ...]:
    """A problem's thresholds as those of the policy, which are not negated."""
    return tuple(float(threshold) if score_policy.rises else abs(float(threshold)) for threshold in thresholds)
