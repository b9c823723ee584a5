"""Stop at one exit, whatever its logits are."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import UsageError
from edgemate.policies.policy import Decider, Mask, Policy
from edgemate.policies.single import Row, Single, SingleDecider, StopRule


class FixedExit(Policy):
    """Stop every image at `exit`, counted from 1.

    Raises:
        UsageError: `exit` is below 1, or (at `begin`) the network has fewer exits.
        TypeError: it is not an integer.
    """

    name = "fixed"

    def __init__(self, exit: int) -> None:
        if operator.index(exit) < 1:
            raise UsageError(f"exit: counts from 1, not {exit}")
        self.exit = exit

    def parameters(self) -> dict[str, Any]:
        """`exit`."""
        return {"exit": self.exit}

    @property
    def description(self) -> str:
        """`exit 2`."""
        return f"exit {self.exit}"

    @property
    def fixed_exit(self) -> int:
        """The exit, counted from 1."""
        return self.exit

    def confidence_thresholds(self, exits: int) -> tuple[float, ...]:
        """1, which no probability is above, before the exit; 0, which all are above, from it on: `(K-1,)`."""
        self.check(exits)
        return tuple(0.0 if exit >= self.exit else 1.0 for exit in range(1, exits))

    def begin(self, images: int, exits: int) -> Decider:
        """A decider; UsageError when there is no such exit."""
        if self.exit > exits:
            raise UsageError(f"exit: {self.exit} asked for; this network has exits 1 to {exits}")
        return _FixedDecider(self.exit)

    def single(self, exits: int) -> Single:
        """A decider without state."""
        self.check(exits)
        decider = _SingleFixed(self.exit)
        return lambda: decider

    def rule(self, exits: int) -> StopRule:
        """Thresholds on the largest probability that none is above, and from the exit on all are."""
        return StopRule("confidence", self.confidence_thresholds(exits), (1.0,) * (exits - 1))


class _FixedDecider(Decider):
    def __init__(self, exit: int) -> None:
        self._exit = exit

    def decide(self, exit: int, logits: npt.NDArray[Any], elapsed_ms: float) -> Mask:
        return np.full(len(logits), exit >= self._exit)


class _SingleFixed(SingleDecider):
    __slots__ = ("_exit",)

    def __init__(self, exit: int) -> None:
        self._exit = exit

    def stop(self, exit: int, row: Row, elapsed_ms: float) -> bool:
        return exit >= self._exit
