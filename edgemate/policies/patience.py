"""Stop when consecutive exits agree (PABEE, Zhou et al. 2020, arXiv 2006.04152)."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.errors import UsageError
from edgemate.policies.policy import Decider, Mask, Policy
from edgemate.policies.single import Row, Single, SingleDecider, StopRule


class Patience(Policy):
    """Stop when an exit has predicted the same class as the one before it, `patience` times in a row.

    An exit whose logits are not finite predicts no class, so the count starts again after it.

    Raises:
        UsageError: `patience` is below 1.
        TypeError: it is not an integer.
    """

    name = "patience"

    def __init__(self, patience: int) -> None:
        if operator.index(patience) < 1:
            raise UsageError(f"patience: must be 1 or more, not {patience}")
        self.patience = patience

    def parameters(self) -> dict[str, Any]:
        """`patience`."""
        return {"patience": self.patience}

    @property
    def description(self) -> str:
        """`patience 2`."""
        return f"patience {self.patience}"

    def begin(self, images: int, exits: int) -> Decider:
        """A decider that remembers each image's last class and how often it was repeated."""
        return _PatienceDecider(self.patience, images)

    def single(self, exits: int) -> Single:
        """A decider that remembers the last class and how often it was repeated."""
        return partial(_SinglePatience, self.patience)

    def rule(self, exits: int) -> StopRule:
        """The patience as every exit's threshold."""
        return StopRule("patience", (float(self.patience),) * (exits - 1), (1.0,) * (exits - 1))


class _PatienceDecider(Decider):
    def __init__(self, patience: int, images: int) -> None:
        self._patience = patience
        self._last = np.full(images, -1, dtype=np.intp)
        self._agreed = np.zeros(images, dtype=np.intp)

    def decide(self, exit: int, logits: npt.NDArray[Any], elapsed_ms: float) -> Mask:
        predicted = logits.argmax(axis=1)
        self._agreed = np.where(predicted == self._last, self._agreed + 1, 0)
        self._last = predicted
        mask: Mask = self._agreed >= self._patience
        return mask

    def disregard(self, rows: Mask) -> None:
        self._last[rows] = -1  # no class
        self._agreed[rows] = 0

    def keep(self, kept: npt.NDArray[np.intp]) -> None:
        self._last = self._last[kept]
        self._agreed = self._agreed[kept]


class _SinglePatience(SingleDecider):
    __slots__ = ("_agreed", "_last", "_patience")

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._last = -1
        self._agreed = 0

    def stop(self, exit: int, row: Row, elapsed_ms: float) -> bool:
        predicted = int(row.argmax())
        self._agreed = self._agreed + 1 if predicted == self._last else 0
        self._last = predicted
        return self._agreed >= self._patience

    def disregard(self, exit: int, row: Row, elapsed_ms: float) -> None:
        self._last = -1
        self._agreed = 0
