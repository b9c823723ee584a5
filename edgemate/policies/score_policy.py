"""Base of the policies that compare one score per image with one threshold per exit."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgemate.errors import UsageError
from edgemate.policies.descriptions import threshold_description
from edgemate.policies.policy import Decider, Mask, Policy
from edgemate.policies.single import Kind, Single, SingleEntropy, SingleScore, StopRule, float32s, stands_for
from edgemate.policies.temperatures import check_temperatures
from edgemate.wording import counted, needing


class ScorePolicy(Policy):
    """Stop where a score of the logits passes the exit's threshold.

    Args:
        threshold: one for every exit, or a list of K-1, one per exit but the last.
        temperature: what the logits are divided by first; one for every exit, or a list of K-1.

    Attributes:
        highest: the largest threshold allowed; the smallest is 0.
        rises: whether an image stops above the threshold, as with a confidence score, or below it.
        kind: which score of `StopRule` it is, declared beside `score`; None for another one.

    Raises:
        UsageError: a number out of range.
    """

    highest: ClassVar[float]
    rises: ClassVar[bool] = True
    kind: ClassVar[Kind | None] = None

    def __init__(
        self, threshold: float | Sequence[float], *, temperature: float | Sequence[float] | None = None
    ) -> None:
        self.threshold = _number_or_tuple(threshold)
        self.temperature = None if temperature is None else _number_or_tuple(temperature)
        for value in _numbers(self.threshold):
            if not 0 <= value <= self.highest or math.isinf(value):
                limit = f"from 0 to {self.highest:g}" if math.isfinite(self.highest) else "0 or more, and finite"
                raise UsageError(f"{self.name}: threshold must be {limit}, not {value}")
        check_temperatures(self.name, () if self.temperature is None else _numbers(self.temperature))

    def parameters(self) -> dict[str, Any]:
        """`threshold` and `temperature`, each a number, or a list of K-1."""
        return {"threshold": _as_json(self.threshold), "temperature": _as_json(self.temperature)}

    @property
    def description(self) -> str:
        """`confidence > 0.8, 0.6`; one threshold that all exits share is given once."""
        return threshold_description(self.name, _numbers(self.threshold), ">" if self.rises else "<")

    def begin(self, images: int, exits: int) -> Decider:
        """A decider; UsageError when a list has not one number per exit."""
        temperatures = None if self.temperature is None else self.temperatures(exits)
        return _ScoreDecider(self, self.thresholds(exits), temperatures)

    def single(self, exits: int) -> Single:
        """A decider without state where the score is one of `StopRule`."""
        rule = self.rule(exits)
        if rule is None:
            return super().single(exits)
        decider = SingleEntropy(rule) if rule.kind == "entropy" else SingleScore(rule)
        return lambda: decider

    def rule(self, exits: int) -> StopRule | None:
        """Its thresholds and temperatures, where the score is one of `StopRule`."""
        if self.kind is None or not stands_for(type(self), "kind", "score", "passes", "rises", "begin"):
            return None
        thresholds, temperatures = (
            tuple(map(float, float32s(numbers))) for numbers in (self.thresholds(exits), self.temperatures(exits))
        )
        return StopRule(self.kind, thresholds, temperatures)

    def thresholds(self, exits: int) -> tuple[float, ...]:
        """The threshold of each of `exits` exits but the last; UsageError when a list has not one number per exit."""
        return self._per_exit("threshold", self.threshold, exits - 1)

    def temperatures(self, exits: int) -> tuple[float, ...]:
        """The temperature of each of `exits` exits but the last, `(K-1,)`; 1 where none was given."""
        return self._per_exit("temperature", 1.0 if self.temperature is None else self.temperature, exits - 1)

    def _per_exit(self, parameter: str, given: float | tuple[float, ...], early: int) -> tuple[float, ...]:
        if isinstance(given, float):
            return (given,) * early
        if len(given) != early:
            raise UsageError(
                f"{self.name}: {parameter} has {counted(len(given), 'number')}; "
                f"{needing(early + 1, 'exit')} {early}, all but the last"
            )
        return given

    def with_temperatures(self, temperatures: Sequence[float]) -> ScorePolicy:
        """The same thresholds on logits divided by `temperatures` `(K-1,)`; itself where it has temperatures."""
        return self if self.temperature is not None else type(self)(self.threshold, temperature=temperatures)

    @staticmethod
    @abstractmethod
    def score(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The score of each row of `logits` `(n, C)`: float32 `(n,)`."""

    @classmethod
    def largest_score(cls, classes: int) -> float:
        """The largest score that `classes` classes can have; it must be finite."""
        return cls.highest

    def passes(self, logits: npt.NDArray[Any], threshold: float) -> Mask:
        """Which rows of `logits` `(n, C)` have a score past `threshold`: bool `(n,)`."""
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


def _as_json(given: float | tuple[float, ...] | None) -> float | list[float] | None:
    return list(given) if isinstance(given, tuple) else given


def _number_or_tuple(given: float | Sequence[float]) -> float | tuple[float, ...]:
    return tuple(map(float, given)) if isinstance(given, Sequence) else float(given)


def _numbers(given: float | tuple[float, ...]) -> tuple[float, ...]:
    return given if isinstance(given, tuple) else (given,)
