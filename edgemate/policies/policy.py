"""The interface of an exit policy: asked after every exit but the last, it says which images stop there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.policies import scores

Mask = npt.NDArray[np.bool_]


class Policy(ABC):
    """When to stop. A policy holds parameters only; what it must remember of a batch is its `Decider`'s."""

    @abstractmethod
    def begin(self, images: int, exits: int) -> Decider:
        """A decider for a batch of `images`, on a network of `exits` exits.

        Raises:
            UsageError: the parameters do not fit a network of so many exits.
        """


class Decider(ABC):
    """One batch's decisions. `non_finite` counts the images that were passed on because a logit was no number."""

    non_finite = 0

    def stop(self, exit: int, logits: npt.NDArray[Any], elapsed_ms: float) -> Mask:
        """Which of the remaining images stop at `exit` (1-based).

        An image with a NaN or infinite logit never stops, whatever the policy: its answer would be none. Nor does what
        the exit said of it speak for or against anything later. The last exit is not asked about, all that is left
        stops there.

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
        """`stop` for logits that are all finite; each policy's own part."""

    def disregard(self, rows: Mask) -> None:  # noqa: B027
        """Remember of these images, bool `(n,)`, that the exit just decided on said nothing.

        What `decide` was shown of them was zeros. A policy that compares exits must not take those for an opinion.
        """

    def keep(self, kept: npt.NDArray[np.intp]) -> None:  # noqa: B027
        """Forget the images whose rows are not among the indices `kept`: they have stopped."""
