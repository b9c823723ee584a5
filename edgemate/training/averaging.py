"""`optimization.ema`: averaged weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, WeightAveraging
from torch import Tensor

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


def weight_averaging(decay: float, frozen: bool) -> WeightAveraging:
    """Exponential average of weights and buffers after every step.

    Args:
        decay: of the average, per step.
        frozen: parts of the network do not train. Their average must equal them bit for bit, but rounding lets
            decay · w + (1 − decay) · w differ from w; so where average and weight are equal, the average stays.
    """
    if not frozen:
        return EMAWeightAveraging(decay=decay)

    def average(averaged: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
        return torch.where(averaged == now, now, decay * averaged + (1 - decay) * now)

    return WeightAveraging(avg_fn=average)


def take_average(trainer: Trainer, task: LightningModule) -> None:
    """Give the network the averaged weights, after a fit that had no epoch left to train.

    Lightning does so when training ends. Where the checkpoint is of the last epoch it restores both kinds of weights,
    trains nothing, and leaves the raw ones in the network.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging):
            callback.on_train_end(trainer, task)
