"""`wsl`: Weighted Soft Labels (Zhou et al., ICLR 2021, arXiv 2102.00650): every image has its own weight.

Formula and defaults (CIFAR's; on ImageNet T 2, α 2.5) as in bellymonster/Weighted-Soft-Label-Distillation. **Ours**:
every exit has weights of its own, from its own cross-entropy.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.teachers.teacher import Exits, first_student_exit
from edgemate.models import ExitOutputs


class WSL(Method):
    """Σ_k CE(z_k, y) + α T² mean over images of w_k CE(s_T(z_t), s_T(z_k)).

        w_k = 1 − exp(−CE(sg z_k, y) / CE(z_t, y))

    Soft labels count little where the exit is better than its teacher, and fully where it is far behind.

    Args:
        setting: what it is built for.
        temperature: T.
        alpha: α, weight of the soft labels.
        exits: which learn from the teacher, `all` or the `final` one.

    Raises:
        UsageError: the recipe names no teacher.
    """

    needs_teacher = True
    weighs_classes = True

    def __init__(
        self,
        setting: Setting,
        *,
        temperature: Annotated[float, Field(gt=0), Tune(1.0, 8.0, log=True)] = 4.0,
        alpha: Annotated[float, Field(ge=0), Tune(0.5, 8.0, log=True)] = 2.25,
        exits: Exits = "all",
    ) -> None:
        super().__init__(setting)
        self.temperature, self.alpha = temperature, alpha
        self.first = first_student_exit(exits, setting.exits)
        self.teacher = setting.require_teacher("wsl")

    @property
    def label_weight(self) -> float:
        """1 at every exit."""
        return 1.0

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """Hard-label and teacher term, and their sum as the total."""
        logits = outputs.logits
        hard = self.hard_labels(logits, batch.labels).sum()
        teacher_logits = self.teacher(batch.images).logits.unsqueeze(1)
        learning = logits[:, self.first :]
        target = F.softmax(teacher_logits / self.temperature, -1)
        soft_ce = -(target * F.log_softmax(learning / self.temperature, -1)).sum(-1)
        weights = soft_label_weights(teacher_logits, learning.detach(), batch.labels)
        soft = self.alpha * self.temperature**2 * (weights * soft_ce).mean(0).sum()
        return Loss(hard + soft, {"labels": hard.detach(), "teacher": soft.detach()})


def soft_label_weights(teacher_logits: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """w of every image and exit, in [0, 1]: (N, 1, C), (N, K, C), (N,) → (N, K)."""
    teacher, exits = (
        -F.log_softmax(given, -1).gather(-1, labels.view(-1, 1, 1).expand(-1, given.shape[1], 1)).squeeze(-1)
        for given in (teacher_logits, logits)
    )
    # A teacher that is sure beyond float32 is behind nobody; the bound keeps 0/0 out.
    return -torch.expm1(-exits / teacher.clamp_min(torch.finfo(teacher.dtype).tiny))
