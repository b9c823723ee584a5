"""Find the first loss that is not finite without making a device wait at every step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from edgemate.distributed.reduce import mean_over_ranks


class BadLoss(NamedTuple):
    """The first loss that is not finite: its value, and how many steps ago it was."""

    value: float
    steps_ago: int


class LossWatch:
    """Looks at losses `every` so many steps: to look at one is to wait until the device has computed it.

    Args:
        every: 1 looks at each.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self._losses: list[Tensor] = []

    def add(self, loss: Tensor, *, last: bool = False) -> BadLoss | None:
        """Take note of a scalar loss.

        Args:
            loss: of this step.
            last: look now, for an epoch is only written down once all its losses are known to be finite.

        Returns:
            The first loss since the last look that is not finite, if one is.
        """
        self._losses.append(loss.detach())
        if len(self._losses) < self.every and not last:
            return None
        losses = mean_over_ranks(torch.stack(self._losses)).cpu()  # so that all processes stop at one step
        self._losses = []
        bad = (~torch.isfinite(losses)).nonzero()
        if not len(bad):
            return None
        first = int(bad[0])
        return BadLoss(float(losses[first]), len(losses) - 1 - first)
