"""The interface of an exit policy: after every exit but the last, it decides which images stop there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgemate.policies import scores
from edgemate.policies.single import Row, Single, SingleDecider, StopRule, stands_for

Mask = npt.NDArray[np.bool_]


class Policy(ABC):
    """When to stop. A policy holds parameters only, which do not change; the state of one batch is in its `Decider`.

    A new policy is one file with a subclass and one line in `registry.POLICIES`. It must define `name`, `begin`,
    `parameters` and `description`; the other members have defaults for a policy that compares no probabilities and
    needs no clock.

    Attributes:
        name: the registered name.
    """

    name: ClassVar[str]

    @abstractmethod
    def begin(self, images: int, exits: int) -> Decider:
        """A decider for a batch of `images`, on a network of `exits` exits.

        Raises:
            UsageError: the parameters do not fit a network of so many exits.
        """

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """The parameters as JSON values; `from_parameters` makes an equal policy of them."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Policy:
        """The policy with these parameters. By default they are the constructor's keyword arguments.

        Raises:
            UsageError: a parameter is out of range.
            TypeError, ValueError: a parameter is missing, unknown or of the wrong type.
        """
        return cls(**parameters)

    @property
    @abstractmethod
    def description(self) -> str:
        """When it stops, in a few words for a table: `confidence > 0.9`."""

    def check(self, exits: int) -> None:
        """UsageError when the parameters do not fit a network of `exits` exits."""
        self.begin(0, exits)

    def single(self, exits: int) -> Single:
        """What makes the deciders of single images, on a network of `exits` exits. By default each is a batch of one.

        A class that defines this must decide as its `begin` does; it is not used where a class below it has another
        `begin` (`edgemate.policies.single.stands_for`).

        Raises:
            UsageError: as `begin`.
        """
        self.check(exits)
        return partial(_BatchOfOne, self, exits)

    def rule(self, exits: int) -> StopRule | None:
        """The same as numbers, for a backend that decides by itself; None where the policy is no such rule.

        Raises:
            UsageError: as `begin`.
        """
        return None

    def with_temperatures(self, temperatures: Sequence[float]) -> Policy:
        """The same policy on logits that are divided by `temperatures` `(K-1,)` first.

        A policy that already has temperatures, or compares no probabilities, returns itself.
        """
        return self

    def thresholds(self, exits: int) -> tuple[float, ...] | None:
        """The threshold of each of `exits` exits but the last, `(K-1,)`; None for a policy without thresholds."""
        return None

    def confidence_thresholds(self, exits: int) -> tuple[float, ...] | None:
        """Thresholds `(K-1,)` on the largest unscaled probability that stop the same images; None where none do.

        The conditional graph compares with these.
        """
        return None

    @property
    def fixed_exit(self) -> int | None:
        """The exit, counted from 1, at which every image stops; None for a policy that looks at the images."""
        return None

    @property
    def deadline_ms(self) -> float | None:
        """Milliseconds that a batch may take; None without a deadline. A policy with one cannot be simulated."""
        return None

    @property
    def needs_segment_ms(self) -> bool:
        """Whether `with_segment_ms` must be called before `begin`."""
        return False

    def with_segment_ms(self, segment_ms: Sequence[float]) -> Policy:
        """The same policy with the time of each segment, `(K,)`, in milliseconds, where it uses them."""
        return self

    def fits(self, exit: int, elapsed_ms: float) -> bool:
        """Whether segment `exit`, counted from 1, may be started after `elapsed_ms` milliseconds."""
        return True


def single_of(policy: Policy, exits: int) -> Single:
    """`policy.single(exits)`, or batches of one where a class has another `begin` than the one that it stands for."""
    if stands_for(type(policy), "single", "begin"):
        return policy.single(exits)
    return Policy.single(policy, exits)


def rule_of(policy: Policy, exits: int) -> StopRule | None:
    """`policy.rule(exits)`, where no class has another `begin` than the one that it stands for."""
    return policy.rule(exits) if stands_for(type(policy), "rule", "begin") else None


class Decider(ABC):
    """The decisions for one batch.

    Attributes:
        non_finite: how many images were passed on because a logit was NaN or infinite.
    """

    non_finite = 0

    def stop(self, exit: int, logits: npt.NDArray[Any], elapsed_ms: float) -> Mask:
        """Which of the remaining images stop at `exit`.

        An image with a NaN or infinite logit never stops: it would have no prediction. These logits do not count as
        evidence at later exits either. It is not called for the last exit, where all remaining images stop.

        Args:
            exit: the exit these logits are of, 1 to K-1.
            logits: float32 `(n, C)`, one row per remaining image.
            elapsed_ms: milliseconds since the batch's first segment was started.

        Returns:
            bool `(n,)`.
        """
        finite = scores.finite(logits)
        if finite.all():
            return self.decide(exit, logits, elapsed_ms)
        self.non_finite += int(np.count_nonzero(~finite))
        mask = self.decide(exit, np.where(finite[:, None], logits, 0), elapsed_ms) & finite
        self.disregard(~finite)
        return mask

    @abstractmethod
    def decide(self, exit: int, logits: npt.NDArray[Any], elapsed_ms: float) -> Mask:
        """`stop` for logits that are all finite; same arguments, and returns bool `(n,)`."""

    def disregard(self, rows: Mask) -> None:  # noqa: B027
        """Ignore what `decide` was just shown for the images in `rows`, bool `(n,)`: zeros in place of their logits.

        A policy that compares exits must not take them for a prediction.
        """

    def keep(self, kept: npt.NDArray[np.intp]) -> None:  # noqa: B027
        """Keep the state of the images at row indices `kept`; the others have stopped."""


class _BatchOfOne(SingleDecider):
    __slots__ = ("_decider",)

    def __init__(self, policy: Policy, exits: int) -> None:
        self._decider = policy.begin(1, exits)

    def stop(self, exit: int, row: Row, elapsed_ms: float) -> bool:
        return bool(self._decider.stop(exit, row[None], elapsed_ms)[0])

    def disregard(self, exit: int, row: Row, elapsed_ms: float) -> None:
        self._decider.stop(exit, row[None], elapsed_ms)
