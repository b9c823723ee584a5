"""What the policies share that compare one score per image with one threshold per exit."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgemate.errors import UsageError
from edgemate.policies.policy import Decider, Mask, Policy
from edgemate.wording import counted


class ScorePolicy(Policy):
    """Stop where a score of the logits passes the exit's threshold.

    Args:
        threshold: one for every exit, or a list of K-1, one per exit but the last.
        temperature: what the logits are divided by first; one for every exit, or a list of K-1.

    Raises:
        UsageError: a number out of range.
    """

    name: ClassVar[str]
    highest: ClassVar[float]  # of the threshold; the lowest is 0 for all
    rises: ClassVar[bool] = True  # whether a higher score is a surer one

    def __init__(
        self, threshold: float | Sequence[float], *, temperature: float | Sequence[float] | None = None
    ) -> None:
        self.threshold = _number_or_tuple(threshold)
        self.temperature = None if temperature is None else _number_or_tuple(temperature)
        for value in _numbers(self.threshold):
            if not 0 <= value <= self.highest or math.isinf(value):
                limit = f"from 0 to {self.highest:g}" if math.isfinite(self.highest) else "0 or more, and finite"
                raise UsageError(f"{self.name}: threshold must be {limit}, not {value}")
        for value in () if self.temperature is None else _numbers(self.temperature):
            if not 0 < value < math.inf:
                raise UsageError(f"{self.name}: temperature must be above 0 and finite, not {value}")

    def begin(self, images: int, exits: int) -> Decider:
        """A decider; UsageError when a list has not one number per exit."""
        temperatures = None if self.temperature is None else self.temperatures(exits)
        return _ScoreDecider(self, self.thresholds(exits), temperatures)

    def thresholds(self, exits: int) -> tuple[float, ...]:
        """The threshold of each of `exits` exits but the last; UsageError when a list has not one number per exit."""
        return self._per_exit("threshold", self.threshold, exits - 1)

    def temperatures(self, exits: int) -> tuple[float, ...]:
        """The temperature of each, likewise; 1 where none was given."""
        return self._per_exit("temperature", 1.0 if self.temperature is None else self.temperature, exits - 1)

    def _per_exit(self, parameter: str, given: float | tuple[float, ...], early: int) -> tuple[float, ...]:
        if isinstance(given, float):
            return (given,) * early
        if len(given) != early:
            raise UsageError(
                f"{self.name}: {parameter} has {counted(len(given), 'number')}; "
                f"{counted(early + 1, 'exit')} need {early}, all but the last"
            )
        return given

    def with_temperature(self, temperature: float | Sequence[float]) -> ScorePolicy:
        """The same thresholds on logits that are scaled first."""
        return type(self)(self.threshold, temperature=temperature)

    @staticmethod
    @abstractmethod
    def score(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One number per row of `logits` `(n, C)`: float32 `(n,)`."""

    def passes(self, logits: npt.NDArray[Any], threshold: float) -> Mask:
        """Which rows of `logits` `(n, C)` are surer than `threshold`: bool `(n,)`."""
        score = self.score(logits)
        mask: Mask = score > threshold if self.rises else score < threshold
        return mask


class _ScoreDecider(Decider):
    def __init__(self, policy: ScorePolicy, thresholds: Sequence[float], temperatures: Sequence[float] | None) -> None:
        self._policy = policy
        self._thresholds = thresholds
        self._temperatures = temperatures

    def decide(self, exit: int, logits: npt.NDArray[Any], elapsed_ms: float) -> Mask:
        if self._temperatures is not None:
            logits = logits / np.float32(self._temperatures[exit - 1])
        return self._policy.passes(logits, self._thresholds[exit - 1])


def _number_or_tuple(given: float | Sequence[float]) -> float | tuple[float, ...]:
    return tuple(map(float, given)) if isinstance(given, Sequence) else float(given)


def _numbers(given: float | tuple[float, ...]) -> tuple[float, ...]:
    return given if isinstance(given, tuple) else (given,)
