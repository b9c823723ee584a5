"""`dml`: Deep Mutual Learning (Zhang et al., CVPR 2018, arXiv 1706.00384) among the exits of one network.

The formula is written **from memory** of the paper, and its use here is ours: DML's peers are networks of their own
that take turns, each stepping towards the others while these are held fixed. Exits share a trunk and step together, so
only the target is held fixed: p_j is a constant in KL(p_j ‖ p_i). Read so, the loss is that of `dks` with pairs
weighted by 1/(K−1).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.terms import kl_from_others
from edgemate.models import ExitOutputs


class DML(Method):
    """Σ_i [CE_i + w/(K−1) · T² Σ_{j≠i} KL(sg s_T(z_j) ‖ s_T(z_i))].

    Args:
        setting: what it is built for.
        temperature: T.
        weight: w, of an exit's peers together.
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
        peers = max(1, self.setting.exits - 1)
        hard = self.hard_labels(outputs.logits, batch.labels).sum()
        soft = self.weight / peers * kl_from_others(outputs.logits, self.temperature).sum()
        return Loss(hard + soft, {"labels": hard.detach(), "peers": soft.detach()})
