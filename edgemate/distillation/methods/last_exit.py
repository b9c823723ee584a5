"""`last_exit`: distillation-based training of multi-exit networks (Phuong, Lampert; ICCV 2019).

Formula, defaults and the growing temperature as in the authors' code, mary-phuong/multiexit-distillation.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from edgemate.config import Tune
from edgemate.distillation.growing_temperature import grow_
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.terms import soft_cross_entropy
from edgemate.models import ExitOutputs


class LastExit(Method):
    """S · [(1−C) Σ_k CE_k + C T² Σ_{k<K} CE(s_T(sg z_K), s_T(z_k))].

    T starts at 1 and is multiplied by `growth` after every batch in which the last exit is too sure of itself: the mean
    over the batch of max_c s_T(z_K)_c, with the T of that batch, is above `threshold`. T is kept in checkpoints. S is
    the authors' too (`global_scale` in their train_cifar.py, 2 · 5/K): without it an exit's labels would weigh half of
    what they do in plain training at the same learning rate.

    Args:
        setting: what it is built for.
        weight: C, weight of the soft labels.
        growth: factor on T; 1 keeps it where it starts.
        threshold: mean confidence of the last exit above which T grows.
        scale: S; 10/K if absent.
        limit: T never passes this; ours (`growing_temperature`).
    """

    weighs_classes = True
    keeps_state = True

    def __init__(
        self,
        setting: Setting,
        *,
        weight: Annotated[float, Field(ge=0, le=1), Tune(0.1, 0.9)] = 0.5,
        growth: Annotated[float, Field(ge=1), Tune(1.0, 1.1)] = 1.05,
        threshold: Annotated[float, Field(gt=0, le=1), Tune(0.2, 0.8)] = 0.5,
        scale: Annotated[float, Field(gt=0)] | None = None,
        limit: Annotated[float, Field(ge=1)] = 100.0,
    ) -> None:
        super().__init__(setting)
        self.scale = 10 / setting.exits if scale is None else scale
        self.weight, self.growth, self.threshold, self.limit = weight, growth, threshold, limit
        self.register_buffer("temperature", torch.ones(()))
        self.temperature: Tensor

    @property
    def label_weight(self) -> float:
        """S · (1 − C)."""
        return self.scale * (1 - self.weight)

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The two terms and their sum; then T grows, if it must."""
        logits, last = outputs.logits, outputs.logits[:, -1:].detach()
        temperature = self.temperature.clone()  # what backward will see; the buffer itself grows before that
        hard = self.hard_labels(logits, batch.labels).sum()
        hard = self.scale * (1 - self.weight) * hard
        soft = self.scale * self.weight * soft_cross_entropy(last, logits[:, :-1], temperature).sum()
        grow_(self.temperature, last, growth=self.growth, threshold=self.threshold, limit=self.limit)
        return Loss(hard + soft, {"labels": hard.detach(), "last_exit": soft.detach()})

    def report(self) -> dict[str, float]:
        """T, as the next batch will find it."""
        return {"temperature": float(self.temperature)}
