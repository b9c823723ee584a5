"""`prokt`: Follow Your Path, progressive knowledge transfer (Shi et al., arXiv 2107.09305): the teacher learns too.

Before every step of the exits the teacher takes one, towards the labels but within the students' reach, so that the
target moves at the students' pace: approximate mirror descent. Terms, order, λ, T and the dual form are as in
wxsh1213/prokt_text, which distils text classifiers. **Ours**, for K exits: the student that the teacher stays close to
is the mean of the probabilities of all exits that it teaches; the exits learn from it alone. The teacher's batch
statistics stay frozen; its optimizer is SGD with momentum .9, whose rate falls to 0 along a cosine; and the dual
variable starts at the value of the fixed form, λ/(1−λ).
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD, Optimizer

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.teachers.teacher import Exits, first_student_exit
from edgemate.distillation.terms import kl_to
from edgemate.distributed.reduce import average_gradients, mean_over_ranks
from edgemate.models import ExitOutputs


class ProKT(Method):
    """Per batch a step of the teacher q, then Σ_k T² KL(sg q ‖ p_k) under the teacher after that step.

        teacher     (1−λ) CE(y, q) + λ KL(sg p ‖ q),     p = mean_k s_T(z_k),   q = s_T(z_t) in both KL
        dual form   CE(y, q) + β KL(sg p ‖ q),            β ← max(0, β + rate (KL − ε)) after every step

    Exits that do not learn from the teacher learn from labels.

    Args:
        setting: what it is built for.
        proximity: λ, weight of the students in the teacher's step.
        temperature: T.
        teacher_lr: learning rate of the teacher at the start.
        dual: let β follow from how far the teacher may stay ahead, instead of a fixed λ.
        epsilon: ε, that distance in nats; of the dual form, as the next.
        dual_rate: step of β.
        exits: which learn from the teacher, `all` or the `final` one.

    Raises:
        UsageError: the recipe names no teacher.
    """

    needs_teacher = True
    weighs_classes = True
    keeps_state = True

    def __init__(
        self,
        setting: Setting,
        *,
        proximity: Annotated[float, Field(ge=0, lt=1), Tune(0.1, 0.8)] = 0.4,
        temperature: Annotated[float, Field(gt=0), Tune(1.0, 4.0, log=True)] = 1.0,
        teacher_lr: Annotated[float, Field(gt=0), Tune(0.001, 0.1, log=True)] = 0.01,
        dual: bool = False,
        epsilon: Annotated[float, Field(ge=0)] = 1.0,
        dual_rate: Annotated[float, Field(gt=0)] = 1e-3,
        exits: Exits = "all",
    ) -> None:
        super().__init__(setting)
        self.proximity, self.temperature, self.teacher_lr = proximity, temperature, teacher_lr
        self.dual, self.epsilon, self.dual_rate = dual, epsilon, dual_rate
        self.first = first_student_exit(exits, setting.exits)
        self.teacher = setting.require_teacher("prokt").copy(learns=True)
        self.teacher_optimizer = SGD(self.teacher.parameters(), lr=teacher_lr, momentum=0.9, weight_decay=5e-4)
        self.register_buffer("beta", torch.tensor(proximity / (1 - proximity)))
        self.beta: Tensor

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """Step the teacher; the exits' loss, and for the logs the teacher's terms before its step."""
        logits = outputs.logits
        learning = logits[:, self.first :]
        own, near = self._step_teacher(learning.detach(), batch, progress)
        with torch.no_grad():
            teacher_logits = self.teacher(batch.images).logits
        soft = kl_to(teacher_logits.unsqueeze(1), learning, self.temperature).sum()
        hard = self.hard_labels(logits[:, : self.first], batch.labels).sum()
        terms = {"labels": hard, "teacher": soft, "teacher_labels": own, "teacher_gap": near}
        return Loss(hard + soft, {name: term.detach() for name, term in terms.items()})

    def optimizers(self) -> list[Optimizer]:
        """The teacher's optimizer, which `forward` steps."""
        return [self.teacher_optimizer]

    def report(self) -> dict[str, float]:
        """β of the dual form; nothing with a fixed λ."""
        return {"beta": float(self.beta)} if self.dual else {}

    def _step_teacher(self, students: Tensor, batch: Batch, progress: Progress) -> tuple[Tensor, Tensor]:
        """CE and KL of the teacher on the batch, both before the step."""
        for group in self.teacher_optimizer.param_groups:
            group["lr"] = self.teacher_lr * (1 + math.cos(math.pi * progress.fraction)) / 2
        teacher_logits = self.teacher(batch.images).logits
        labels = self.hard_labels(teacher_logits.unsqueeze(1), batch.labels).sum()
        mean = F.softmax(students / self.temperature, -1).mean(1)
        gap = F.kl_div(F.log_softmax(teacher_logits / self.temperature, -1), mean, reduction="batchmean")
        loss = labels + self.beta * gap if self.dual else (1 - self.proximity) * labels + self.proximity * gap
        self.teacher_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(self.teacher_optimizer, len(batch.labels))
        self.teacher_optimizer.step()
        self.teacher_optimizer.zero_grad()
        if self.dual:
            apart = mean_over_ranks(gap.detach(), len(batch.labels))
            self.beta.add_(self.dual_rate * (apart - self.epsilon)).clamp_(min=0)
        return labels.detach(), gap.detach()
