"""`eed`: Exit Ensemble Distillation (Lee, Lee; arXiv 2104.00299): the plain mean of all exits teaches each of them.

Formula and defaults as in the authors' code, hjdw2/Exit-Ensemble-Distillation. The authors distil logits by mean
squared error or, in another form, by KL with weight .1 · T²; both are here.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.terms import kl_to, masked_squares, require_equal_widths
from edgemate.models import ExitOutputs


class EED(Method):
    """Σ_k CE_k + w · Σ_k MSE(z_k, sg z̄) + v · Σ_k masked MSE(f_k, sg f̄), last exit included.

    z̄ and f̄ are uniform means over exits. With `logits: kl` the second term is .1 · T² · Σ_k KL(s_T(sg z̄) ‖ s_T(z_k)).

    Args:
        setting: what it is built for.
        logits: how logits are compared.
        logits_weight: w; 1 for mse and .1 for kl if absent.
        temperature: T of the KL form.
        features_weight: v; the features need equal widths at all exits unless it is 0.
    """

    weighs_classes = True

    def __init__(
        self,
        setting: Setting,
        *,
        logits: Literal["mse", "kl"] = "mse",
        logits_weight: Annotated[float, Field(ge=0)] | None = None,
        temperature: Annotated[float, Field(gt=0)] = 3.0,
        features_weight: Annotated[float, Field(ge=0), Tune(0.1, 10.0, log=True)] = 1.0,
    ) -> None:
        super().__init__(setting)
        if features_weight:
            require_equal_widths("eed", "distillation.options.features_weight", setting.pooled_widths)
        self.form = logits
        default_weight = 1.0 if logits == "mse" else 0.1
        self.logits_weight = default_weight if logits_weight is None else logits_weight
        self.temperature, self.features_weight = temperature, features_weight

    @property
    def label_weight(self) -> float:
        """1 at every exit."""
        return 1.0

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The three terms and their sum."""
        logits, pooled = outputs.logits, outputs.pooled
        hard = self.hard_labels(logits, batch.labels).sum()
        mean = logits.mean(1, keepdim=True).detach()
        if self.form == "mse":
            soft = (logits - mean).square().mean((0, 2)).sum()
        else:
            soft = kl_to(mean, logits, self.temperature).sum()
        soft = self.logits_weight * soft
        total = hard + soft
        terms = {"labels": hard.detach(), "ensemble": soft.detach()}
        if self.features_weight:
            stacked = torch.stack(pooled, 1)
            squares = masked_squares(stacked, stacked.mean(1, keepdim=True).detach())
            features = self.features_weight * squares.mean((0, 2)).sum()
            total = total + features
            terms["features"] = features.detach()
        return Loss(total, terms)

    def teachers(self, logits: Tensor) -> Tensor:
        """The one teacher, z̄: (N, K, C) → (N, 1, C)."""
        return logits.mean(1, keepdim=True)
