"""`boosted`: BoostNet (Yu, Li, Hua, Huang, Shi; "Boosted Dynamic Neural Networks", AAAI 2023, arXiv 2211.16726).

Every exit only adds to the logits of the exits before it, as in gradient boosting, so that it is trained on what they
leave open. Formula and default as in the authors' code, SHI-Labs/Boosted-Dynamic-Networks. w is what the paper calls
prediction reweighting; the code has one per exit, here it is one for all. The paper also rescales the gradients that
meet at a cut, which is no part of this objective.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from edgemate.config import Tune
from edgemate.distillation.boosting import boosted_logits, boosted_mixing
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs


class Boosted(Method):
    """Σ_k CE(h_k + sg(w · G_{k−1}), y) with h_k the logits of head k, G_k = h_k + w · G_{k−1} and G_0 = 0.

    The deployed exit k returns G_k: W_kj = w^{k−j}.

    Args:
        setting: what it is built for.
        weight: w, weight of the earlier exits' sum. 0 is joint CE.

    Raises:
        UsageError: the recipe asks for another ensemble too.
    """

    weighs_classes = True

    def __init__(self, setting: Setting, *, weight: Annotated[float, Field(ge=0, le=1), Tune(0.1, 0.9)] = 0.5) -> None:
        super().__init__(setting)
        if setting.ensemble != "none":
            raise UsageError(
                f"boosted deploys its own sums of logits; set exits.ensemble: none, not {setting.ensemble}"
            )
        self.weight = weight

    @property
    def label_weight(self) -> float:
        """1 at every exit."""
        return 1.0

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The cross-entropies of the sums, of which each moves its own exit alone."""
        sums = boosted_logits(outputs.logits, self.weight)
        labels_term = self.hard_labels(sums, batch.labels).sum()
        return Loss(labels_term, {"labels": labels_term.detach()})

    def mixing(self) -> Tensor:
        """Powers of w, 1 on the diagonal."""
        return boosted_mixing(self.setting.exits, self.weight)
