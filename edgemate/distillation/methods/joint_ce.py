"""`joint_ce`: every exit learns from the labels alone (BranchyNet; MSDNet, arXiv 1703.09844)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs
from edgemate.wording import counted


class JointCE(Method):
    """Σ_k w_k · CE(z_k, y).

    Args:
        setting: what it is built for.
        weights: w, one per exit; all 1 if absent.
    """

    weighs_classes = True

    def __init__(self, setting: Setting, *, weights: list[Annotated[float, Field(ge=0)]] | None = None) -> None:
        super().__init__(setting)
        if weights is not None and len(weights) != setting.exits:
            raise UsageError(
                f"joint_ce has {counted(len(weights), 'weight')} for {counted(setting.exits, 'exit')}; "
                "give one per exit"
            )
        given = torch.tensor(weights or [1.0] * setting.exits, dtype=torch.float32)
        self.register_buffer("weights", given, persistent=False)
        self.weights: Tensor

    @property
    def label_weight(self) -> float:
        """The mean of w."""
        return float(self.weights.mean())

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The weighted sum of the exits' cross-entropies."""
        labels_term = self.hard_labels(outputs.logits, batch.labels) @ self.weights
        return Loss(labels_term, {"labels": labels_term.detach()})
