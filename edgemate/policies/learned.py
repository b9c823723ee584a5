"""Stop when a learned score is high enough (EENet, Ilhan et al. 2024, arXiv 2301.07099)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import UsageError
from edgemate.policies import scores
from edgemate.policies.descriptions import threshold_description
from edgemate.policies.policy import Decider, Mask, Policy
from edgemate.policies.temperatures import check_temperatures
from edgemate.wording import counted, needing

Array = npt.NDArray[Any]


class Learned(Policy):
    """Stop when the learned score of the exit is above its threshold.

    The score of exit k is the sigmoid of a weighted sum of the C class probabilities, the largest of them, their
    entropy over log(C), the scores of exits 1 to k-1, and 1. An exit whose logits are not finite has a score of 0.

    Args:
        threshold: one per exit but the last, 0 to 1; at 1 nothing stops.
        weights: for each of these exits C + 2 + (k-1) + 1 numbers, in the order above.
        temperature: what the logits are divided by first, one per exit but the last.

    Raises:
        UsageError: numbers out of range, or not as many as that.
    """

    name = "learned"

    def __init__(
        self,
        threshold: Sequence[float],
        *,
        weights: Sequence[Sequence[float] | Array],
        temperature: Sequence[float] | None = None,
    ) -> None:
        self.threshold = tuple(map(float, threshold))
        self.temperature = None if temperature is None else tuple(map(float, temperature))
        self.weights = tuple(np.asarray(row, dtype=np.float32) for row in weights)
        if any(row.ndim != 1 for row in self.weights):
            raise UsageError("learned: weights must be one row of numbers per exit but the last")
        for value in self.threshold:
            if not 0 <= value <= 1:
                raise UsageError(f"learned: threshold must be from 0 to 1, not {value}")
        check_temperatures(self.name, self.temperature or ())
        counts = {len(self.threshold), len(self.weights), len(self.temperature or self.threshold)}
        if len(counts) > 1:
            raise UsageError("learned: needs as many thresholds, temperatures and rows of weights as each other")
        lengths = [len(row) - k for k, row in enumerate(self.weights)]
        if len(set(lengths)) > 1 or not all(np.isfinite(row).all() for row in self.weights):
            raise UsageError("learned: each exit has one weight more than the exit before it, all of them finite")

    def parameters(self) -> dict[str, Any]:
        """`threshold`, `weights` and `temperature`."""
        return {
            "threshold": list(self.threshold),
            "weights": [row.tolist() for row in self.weights],
            "temperature": None if self.temperature is None else list(self.temperature),
        }

    @property
    def description(self) -> str:
        """`learned > 0.8, 0.6`."""
        return threshold_description(self.name, self.threshold)

    def thresholds(self, exits: int) -> tuple[float, ...]:
        """The thresholds `(K-1,)`; UsageError when it is for another number of exits."""
        if len(self.threshold) != exits - 1:
            raise UsageError(f"learned: is for {counted(len(self.threshold) + 1, 'exit')}; this network has {exits}")
        return self.threshold

    def with_temperatures(self, temperatures: Sequence[float]) -> Learned:
        """The same weights and thresholds on logits divided by `temperatures`; itself where it has temperatures."""
        if self.temperature is not None:
            return self
        return Learned(self.threshold, weights=self.weights, temperature=temperatures)

    def begin(self, images: int, exits: int) -> Decider:
        """A decider that remembers each image's scores; UsageError when it is for another number of exits."""
        self.thresholds(exits)
        return _LearnedDecider(self, images)


def features(logits: Array, earlier: Array) -> Array:
    """The inputs of a score: float32 `(n, C + 2 + (k-1) + 1)`.

    Args:
        logits: float32 `(n, C)`, finite.
        earlier: float32 `(n, k-1)`, the scores of the earlier exits.
    """
    images, classes = logits.shape
    found = np.empty((images, classes + 3 + earlier.shape[1]), dtype=np.float32)
    probabilities = scores.softmax(logits)
    found[:, :classes] = probabilities
    found[:, classes] = probabilities.max(axis=1)
    found[:, classes + 1] = scores.entropy(logits) / (math.log(classes) or 1.0)
    found[:, classes + 2 : -1] = earlier
    found[:, -1] = 1
    return found


def learned_score(given: Array, weights: Array) -> Array:
    """The score of each row of features: float32 `(n,)`, in [0, 1].

    Args:
        given: float32 `(n, F)`, as `features` returns them.
        weights: float32 `(F,)`.
    """
    # Summed row by row: the rounding of a matrix product depends on the number of rows.
    total = np.clip((given * weights).sum(axis=1), -30, 30)
    score: Array = 1 / (1 + np.exp(-total))
    return score


class _LearnedDecider(Decider):
    def __init__(self, policy: Learned, images: int) -> None:
        self._policy = policy
        self._earlier = np.empty((images, 0), dtype=np.float32)

    def decide(self, exit: int, logits: Array, elapsed_ms: float) -> Mask:
        policy = self._policy
        if policy.temperature is not None:
            logits = logits / np.float32(policy.temperature[exit - 1])
        given = features(logits, self._earlier)
        if given.shape[1] != len(policy.weights[exit - 1]):
            raise UsageError(
                f"learned: {counted(len(policy.weights[exit - 1]), 'weight')} given for exit {exit}; "
                f"{needing(logits.shape[1], 'class')} {given.shape[1]}"
            )
        score = learned_score(given, policy.weights[exit - 1])
        self._earlier = np.column_stack((self._earlier, score))
        mask: Mask = score > policy.threshold[exit - 1]
        return mask

    def disregard(self, rows: Mask) -> None:
        self._earlier[rows, -1] = 0

    def keep(self, kept: npt.NDArray[np.intp]) -> None:
        self._earlier = self._earlier[kept]
