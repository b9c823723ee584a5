"""`beed`: Balanced Exit-Ensemble Distillation (Lee, Lee; ACCV 2022): a mean that favors late exits teaches them all.

Formula and defaults as in the authors' code, hjdw2/BEED. There features are compared as maps, before pooling, and by a
plain mean square; here pooled and masked, as in `eed`. The mask changes nothing where features come from a ReLU.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.terms import kl_to, masked_squares, require_equal_widths, weighted
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs


class BEED(Method):
    """Σ_k [(2 − a^{K−k}) CE_k + a^{K−k} T² KL(s_T(sg z̄) ‖ s_T(z_k))] + v Σ_k masked MSE(f_k, sg f̄).

    z̄ = Σ_k b^{k−1} z_k / Σ_k b^{k−1}, and f̄ likewise: later exits weigh more in the teacher. Earlier exits listen to it
    more and to the labels less.

    Args:
        setting: what it is built for.
        balance: a; 1 treats all exits alike.
        importance: b; 1 makes the teacher EED's plain mean.
        temperature: T.
        features_weight: v; the features need equal widths at all exits unless it is 0.

    Raises:
        UsageError: with so many exits the first one's weight of labels, 2 − a^{K−1}, is negative.
    """

    weighs_classes = True

    def __init__(
        self,
        setting: Setting,
        *,
        balance: Annotated[float, Field(ge=1, le=2), Tune(1.0, 1.9, root=True)] = 1.15,
        importance: Annotated[float, Field(gt=0), Tune(1.0, 2.5)] = 1.6,
        temperature: Annotated[float, Field(gt=0), Tune(1.0, 8.0, log=True)] = 3.0,
        features_weight: Annotated[float, Field(ge=0), Tune(0.01, 1.0, log=True)] = 0.1,
    ) -> None:
        super().__init__(setting)
        if features_weight:
            require_equal_widths("beed", "distillation.options.features_weight", setting.pooled_widths)
        k = setting.exits
        fractions = [balance ** (k - 1 - i) for i in range(k)]
        if fractions[0] > 2:
            raise UsageError(
                f"beed's weight of the labels at exit 1, 2 − {balance:g}^{k - 1}, is negative; "
                f"with {k} exits set distillation.options.balance to {2 ** (1 / (k - 1)) - 5e-3:.2f} or less"
            )
        self.temperature, self.features_weight = temperature, features_weight
        importances = torch.tensor([[importance**i for i in range(k)]], dtype=torch.float32)
        self.register_buffer("fractions", torch.tensor(fractions, dtype=torch.float32), persistent=False)
        self.register_buffer("weights", importances / importances.sum(), persistent=False)
        self.fractions: Tensor
        self.weights: Tensor

    @property
    def label_weight(self) -> float:
        """The mean of 2 − a^{K−k}."""
        return float((2 - self.fractions).mean())

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The three terms and their sum."""
        logits, pooled = outputs.logits, outputs.pooled
        hard = self.hard_labels(logits, batch.labels) @ (2 - self.fractions)
        soft = kl_to(self.teachers(logits.detach()), logits, self.temperature) @ self.fractions
        total = hard + soft
        terms = {"labels": hard.detach(), "ensemble": soft.detach()}
        if self.features_weight:
            stacked = torch.stack(pooled, 1)
            squares = masked_squares(stacked, weighted(stacked.detach(), self.weights))
            features = self.features_weight * squares.mean((0, 2)).sum()
            total = total + features
            terms["features"] = features.detach()
        return Loss(total, terms)

    def teachers(self, logits: Tensor) -> Tensor:
        """The one teacher, z̄: (N, K, C) → (N, 1, C)."""
        return weighted(logits, self.weights)
