"""`one`: Knowledge Distillation by On-the-Fly Native Ensemble (Lan, Zhu, Gong; NeurIPS 2018, arXiv 1806.04606).

A gate weighs the exits anew for every image, and the ensemble that it makes teaches them all. Losses, gate, T, the
ramp and what is held constant are as in the authors' code, Lan1991Xu/ONE_NeurIPS2018.

**Ours**, since ONE's branches are copies of one last stage and exits are not: the gate reads the pooled features of
all exits, concatenated, where ONE's reads the layers that all branches share (all exits share the first stage only,
which carries little information yet); and the ramp, 80 of 300 epochs there, is a fraction of the training, so that it
fits any number.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.terms import kl_to, ramp
from edgemate.distributed.reduce import mean_over_ranks
from edgemate.models import ExitOutputs


class ONE(Method):
    """Σ_k CE(z_k, y) + CE(t, y) + w(e) α Σ_k T² KL(s_T(sg t) ‖ s_T(z_k)).

        teacher  t = Σ_k g_k z_k,  g = softmax(ReLU(BN(W [f_1 … f_K] + b))), per image
        ramp     w(e) = exp(−5 (1 − e/ramp)²) until e reaches `ramp_up`, then 1

    The teacher's own cross-entropy is all that trains the gate; it also moves the exits that the gate weighs, and their
    features. The KL moves the exits as students and nothing else.

    Args:
        setting: what it is built for.
        temperature: T.
        alpha: α, weight of the teacher once the ramp is over.
        ramp_up: fraction of the training over which that weight rises; 0 for all of it from the start.
    """

    weighs_classes = True
    keeps_state = True

    def __init__(
        self,
        setting: Setting,
        *,
        temperature: Annotated[float, Field(gt=0), Tune(1.0, 8.0, log=True)] = 3.0,
        alpha: Annotated[float, Field(ge=0), Tune(0.2, 5.0, log=True)] = 1.0,
        ramp_up: Annotated[float, Field(ge=0, le=1), Tune(0.0, 0.5)] = 0.27,
    ) -> None:
        super().__init__(setting)
        self.temperature, self.alpha, self.ramp_up = temperature, alpha, ramp_up
        k = setting.exits
        self.gate = nn.Sequential(nn.Linear(sum(setting.pooled_widths), k), nn.BatchNorm1d(k), nn.ReLU())
        self.register_buffer("mean_weights", torch.full((k,), 1 / k))
        self.mean_weights: Tensor

    @property
    def label_weight(self) -> float:
        """1, and 1/K of the teacher's."""
        return 1 + 1 / self.setting.exits

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The three terms and their sum."""
        logits = outputs.logits
        weights = F.softmax(self.gate(torch.cat(outputs.pooled, 1)), 1)
        self.mean_weights.copy_(mean_over_ranks(weights.detach().mean(0), len(weights)))
        teacher = (weights.unsqueeze(-1) * logits).sum(1, keepdim=True)
        hard = self.hard_labels(logits, batch.labels).sum()
        own = self.hard_labels(teacher, batch.labels).sum()
        weight = self.alpha * ramp(progress.fraction, self.ramp_up)
        soft = weight * kl_to(teacher.detach(), logits, self.temperature).sum()
        terms = {"labels": hard.detach(), "teacher_labels": own.detach(), "teacher": soft.detach()}
        return Loss(hard + own + soft, terms)

    def report(self) -> dict[str, float]:
        """Weight of every exit, counted from 1, in the teacher: mean over the last batch."""
        return {f"gate_exit{k}": weight for k, weight in enumerate(self.mean_weights.tolist(), 1)}
