"""`dks`: Deeply-supervised Knowledge Synergy (Sun et al., CVPR 2019, arXiv 1906.00675): all exits teach each other.

Formula and defaults as in the authors' code, sundw2014/DKS.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.terms import kl_from_others
from edgemate.models import ExitOutputs


class DKS(Method):
    """Σ_k CE_k + w T² Σ_{k≠j} KL(sg s_T(z_j) ‖ s_T(z_k)), over all ordered pairs of exits.

    Args:
        setting: what it is built for.
        temperature: T.
        weight: w, of every pair.
    """

    weighs_classes = True

    def __init__(
        self,
        setting: Setting,
        *,
        temperature: Annotated[float, Field(gt=0), Tune(1.0, 4.0, log=True)] = 1.0,
        weight: Annotated[float, Field(ge=0), Tune(0.2, 5.0, log=True)] = 1.0,
    ) -> None:
        super().__init__(setting)
        self.temperature, self.weight = temperature, weight

    @property
    def label_weight(self) -> float:
        """1 at every exit."""
        return 1.0

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The two terms and their sum."""
        hard = self.hard_labels(outputs.logits, batch.labels).sum()
        soft = self.weight * kl_from_others(outputs.logits, self.temperature).sum()
        return Loss(hard + soft, {"labels": hard.detach(), "other_exits": soft.detach()})
