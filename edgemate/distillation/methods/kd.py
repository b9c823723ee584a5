"""`kd`: knowledge distillation (Hinton, Vinyals, Dean 2015, arXiv 1503.02531) from another network to every exit.

The form with fractions, T and a are those that are in common use, from memory.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.teachers.teacher import Exits, Teacher, first_student_exit
from edgemate.distillation.terms import kl_to
from edgemate.models import ExitOutputs


class KD(Method):
    """Σ_k (1−a) CE(z_k, y) + a T² KL(s_T(z_t) ‖ s_T(z_k)); for an exit without a teacher CE(z_k, y).

    Args:
        setting: what it is built for.
        temperature: T.
        alpha: a, weight of the teacher.
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
        temperature: Annotated[float, Field(gt=0), Tune(1.0, 10.0, log=True)] = 4.0,
        alpha: Annotated[float, Field(ge=0, le=1), Tune(0.1, 0.95)] = 0.9,
        exits: Exits = "all",
    ) -> None:
        super().__init__(setting)
        self.temperature, self.alpha = temperature, alpha
        self.first = first_student_exit(exits, setting.exits)
        self.teacher: Teacher = setting.require_teacher("kd")

    @property
    def label_weight(self) -> float:
        """1 − a, and 1 at exits without a teacher."""
        return 1 - self.alpha * (1 - self.first / self.setting.exits)

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """Hard-label and teacher term, and their sum as the total."""
        return self.learn_from(self.teacher(batch.images).logits, outputs.logits, batch.labels)

    def learn_from(self, teacher_logits: Tensor, logits: Tensor, labels: Tensor) -> Loss:
        """Both terms and their sum, from the logits of the teacher, (N, C), and of the exits, (N, K, C)."""
        hard = self.hard_labels(logits, labels)
        labeled = hard[: self.first].sum() + (1 - self.alpha) * hard[self.first :].sum()
        soft = self.alpha * kl_to(teacher_logits.unsqueeze(1), logits[:, self.first :], self.temperature).sum()
        return Loss(labeled + soft, {"labels": labeled.detach(), "teacher": soft.detach()})
