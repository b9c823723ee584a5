"""Stop at one exit, whatever it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import UsageError
from edgemate.policies.policy import Decider, Mask, Policy


class FixedExit(Policy):
    """Stop every image at `exit`, counted from 1.

    Raises:
        UsageError: `exit` is below 1, or (at `begin`) the network has fewer exits.
    """

    def __init__(self, exit: int) -> None:
        if exit < 1:
            raise UsageError(f"exit: counts from 1, not {exit}")
        self.exit = exit

    def begin(self, images: int, exits: int) -> Decider:
        """A decider; UsageError when there is no such exit."""
        if self.exit > exits:
            raise UsageError(f"exit: {self.exit} asked for; this network has exits 1 to {exits}")
        return _FixedDecider(self.exit)


class _FixedDecider(Decider):
    def __init__(self, exit: int) -> None:
        self._exit = exit

    def decide(self, exit: int, logits: npt.NDArray[Any], elapsed_ms: float) -> Mask:
        return np.full(len(logits), exit >= self._exit)
