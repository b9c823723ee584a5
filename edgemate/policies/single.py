"""Decisions about one image at a time, from what a policy prepares once: `Policy.single`, `Policy.rule`.

Between two segments of a network that takes a millisecond, a batch of one would spend more time on arrays of one row
than on their numbers. What is decided is the same.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgemate.policies import scores

Row = npt.NDArray[Any]
Kind = Literal["confidence", "entropy", "margin", "patience"]

_MOST_CLASSES = 4096
_NEAR = 1e-3


class SingleDecider(ABC):
    """The decisions for one image, on one row of logits after another."""

    __slots__ = ()

    @abstractmethod
    def stop(self, exit: int, row: Row, elapsed_ms: float) -> bool | np.bool_:
        """Whether the image stops at `exit`.

        Args:
            exit: the exit that the logits are of, 1 to K-1.
            row: float32 `(C,)`, all finite.
            elapsed_ms: milliseconds since the first segment was started.
        """

    def disregard(self, exit: int, row: Row, elapsed_ms: float) -> None:  # noqa: B027
        """Take note that the logits of `exit` are not all finite: no image stops there, and they are no evidence."""


Single = Callable[[], SingleDecider]
"""Makes the decider of one image; what has no state gives the same one each time, to several threads too."""


@dataclass(frozen=True)
class StopRule:
    """A policy as numbers that something else than this package can compare: a kernel on a device.

    An image stops at exit k where the score of its logits divided by `temperatures[k-1]` is above `thresholds[k-1]`, or
    below it for `entropy`, and all of its logits are finite. All numbers are float32. For `patience` the threshold is
    reached, not passed, by how often in a row an exit has predicted the class of the exit before it; an exit whose
    logits are not finite predicts none.

    Attributes:
        kind: the score, a function of `edgemate.policies.scores`: `confidence` is `max_probability`; or `patience`.
        thresholds: `(K-1,)`.
        temperatures: `(K-1,)`, above 0.
    """

    kind: Kind
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...]


class SingleScore(SingleDecider):
    """`StopRule` on the host; it has no state."""

    __slots__ = ("_rises", "_score", "_temperatures", "_thresholds")

    def __init__(self, rule: StopRule) -> None:
        self._score = _SCORES[rule.kind]
        self._rises = rule.kind != "entropy"
        self._thresholds = float32s(rule.thresholds)
        # Dividing by 1 changes nothing and takes time.
        self._temperatures = tuple(one if one != 1 else None for one in float32s(rule.temperatures))

    def stop(self, exit: int, row: Row, elapsed_ms: float) -> bool | np.bool_:
        """Whether the score passes the exit's threshold; the clock does not matter."""
        temperature = self._temperatures[exit - 1]
        score = self._score(row if temperature is None else row / temperature)
        if self._rises:
            return score > self._thresholds[exit - 1]
        return score < self._thresholds[exit - 1]


class SingleEntropy(SingleScore):
    """The same for `entropy`, whose exact value takes longest: where a faster sum is far enough from the threshold.

    All terms of the entropy are positive, so that the float32 sums of n terms, in whatever order, are within n · 2^-24
    of each other, relative to the entropy and, through the logarithm, in nats. That is a quarter of `_NEAR` for the
    most classes that take this way.
    """

    __slots__ = ()

    def stop(self, exit: int, row: Row, elapsed_ms: float) -> bool | np.bool_:
        """As its base."""
        if len(row) > _MOST_CLASSES:
            return super().stop(exit, row, elapsed_ms)
        temperature = self._temperatures[exit - 1]
        shifted = row if temperature is None else row / temperature
        shifted = shifted - shifted[shifted.argmax()]
        exponentials = np.exp(shifted)
        total = float(np.add.reduce(exponentials))
        nats = math.log(total) - float(exponentials.dot(shifted)) / total if total >= 1 else math.nan
        threshold = self._thresholds[exit - 1]
        if abs(nats - threshold) > _NEAR * (1 + nats):  # false where they are no numbers, too
            return nats < threshold
        return super().stop(exit, row, elapsed_ms)


def float32s(numbers: Sequence[float]) -> tuple[np.float32, ...]:
    """The numbers as numpy compares arrays of float32 with them; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return tuple(map(np.float32, numbers))


def stands_for(cls: type, shortcut: str, *members: str) -> bool:
    """Whether `shortcut` is still right in `cls`: no class below the one that defines it has changed these members."""

    def depth(name: str) -> int:
        return next((depth for depth, base in enumerate(cls.__mro__) if name in vars(base)), len(cls.__mro__))

    return depth(shortcut) <= min(map(depth, members))


_SCORES: dict[Kind, Callable[[Row], np.float32]] = {
    "confidence": scores.max_probability_of,
    "entropy": scores.entropy_of,
    "margin": scores.margin_of,
}
