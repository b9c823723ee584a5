"""`uda_kd`: joint unsupervised domain adaptation and knowledge distillation (arXiv 2005.07839, 2101.07308).

A teacher adapts to images of a second domain, the target, which have no labels, and hands on what it learns while it
learns it. Formula, order of the two steps and defaults as in the authors' code, LIVIAETS/MT-MTDA, for several targets.

**Ours**: every exit is a student, with a discriminator of its own on its pooled feature, and the exits' terms are
summed. Students learn KL(s_T(teacher) ‖ s_T(student)); the authors' code has it the other way round, which at T = 20 is
nearly the same. Their student's discriminator sees the target only, so that it could always predict "target" and teach
nothing; ours also learns from the source's features, which it does not move. Discriminators are smaller (one hidden
layer of 128 instead of 4,096), without batch normalization. Both domains pass a network in one batch, so that batch
normalization learns the statistics that it is later used with; β moves with every step instead of every epoch.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from edgemate.config import Tune
from edgemate.distillation.adversarial import DomainDiscriminator, reversal_strength
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.teachers.teacher import Exits, first_student_exit
from edgemate.distillation.terms import kl_to
from edgemate.distillation.unlabeled import by_domain
from edgemate.distributed.reduce import average_gradients, mean_over_ranks
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs

Fraction = Annotated[float, Field(gt=0, lt=1)]


class UDAKD(Method):
    """Per batch a step of the teacher, then one of the exits, which see the teacher after its step.

        teacher  (1−β) [CE(t, y) + γ (adv_src + adv_tgt)]
        exits    β Σ_k {α T² KL_src + (1−α) CE(z_k, y) + T² KL_tgt + α adv_tgt},   KL = KL(sg s_T(t) ‖ s_T(z_k))
        β        grows exponentially with the fraction p of the training, from `beta_start` to `beta_end`
        adv      binary cross-entropy of a discriminator of the domains on the pooled feature, whose gradient reaches
                 the feature reversed, times 2 / (1 + e^{−10p}) − 1

    src is the mean over the labeled images, tgt over the unlabeled. The exits' discriminators learn from
    β α adv_src too; no exit does. The teacher has an optimizer of its own, SGD with momentum .9 and weight decay 5e-4
    at the rate `teacher_lr` / (1 + 10p)^.75.

    Args:
        setting: what it is built for.
        temperature: T.
        alpha: α, weight of the teacher on the source, and weight of the exits' adversarial term.
        gamma: γ, weight of the teacher's adversarial terms.
        beta_start: β at the start.
        beta_end: β at the end.
        hidden: width of the discriminators' hidden layer.
        teacher_lr: the teacher's learning rate at the start.
        exits: which learn from the teacher and adapt, `all` or the `final` one; the others have β CE(z_k, y) alone.

    Raises:
        UsageError: the recipe names no teacher, or no second domain.
    """

    uses_unlabeled = True
    needs_teacher = True
    weighs_classes = True
    keeps_state = True

    def __init__(
        self,
        setting: Setting,
        *,
        temperature: Annotated[float, Field(gt=0), Tune(4.0, 40.0, log=True)] = 20.0,
        alpha: Annotated[float, Field(ge=0, le=1), Tune(0.05, 0.8)] = 0.2,
        gamma: Annotated[float, Field(ge=0), Tune(0.1, 2.0, log=True)] = 0.5,
        beta_start: Fraction = 0.1,
        beta_end: Fraction = 0.9,
        hidden: Annotated[int, Field(gt=0, le=8192)] = 128,
        teacher_lr: Annotated[float, Field(gt=0), Tune(0.001, 0.1, log=True)] = 0.01,
        exits: Exits = "all",
    ) -> None:
        super().__init__(setting)
        if not setting.unlabeled:
            raise UsageError("uda_kd adapts to a second domain; name it under data.unlabeled")
        self.temperature, self.alpha, self.gamma = temperature, alpha, gamma
        self.beta_start, self.beta_end, self.teacher_lr = beta_start, beta_end, teacher_lr
        self.first = first_student_exit(exits, setting.exits)
        self.teacher = setting.require_teacher("uda_kd").copy(learns=True)
        self.teacher.network.train(self.training)
        self.teacher_discriminator = DomainDiscriminator(self.teacher.width, hidden)
        widths = setting.pooled_widths[self.first :]
        self.discriminators = nn.ModuleList(DomainDiscriminator(width, hidden) for width in widths)
        self._last: dict[str, Tensor] = {}
        own = [*self.teacher.parameters(), *self.teacher_discriminator.parameters()]
        self.teacher_optimizer = SGD(own, lr=teacher_lr, momentum=0.9, weight_decay=5e-4)

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The teacher's step, and the exits' loss under the teacher after it."""
        known = batch.labels >= 0
        beta, strength = self.beta(progress), reversal_strength(progress.fraction)
        self._step_teacher(batch, known, beta, strength, progress)
        with torch.no_grad():
            teacher_logits = self.teacher(batch.images).logits.unsqueeze(1)
        source, target = by_domain(outputs, batch)
        hard = self.hard_labels(source.logits, batch.labels[known])
        on_source = kl_to(teacher_logits[known], source.logits[:, self.first :], self.temperature).sum()
        on_target = kl_to(teacher_logits[~known], target.logits[:, self.first :], self.temperature).sum()
        adversarial, discriminator_loss = self._adversarial(source, target, strength)
        terms = {
            "labels": beta * (hard[: self.first].sum() + (1 - self.alpha) * hard[self.first :].sum()),
            "teacher_source": beta * self.alpha * on_source,
            "teacher_target": beta * on_target,
            "adversarial": beta * self.alpha * adversarial,
            "discriminators": beta * self.alpha * discriminator_loss,
        }
        total = torch.stack(list(terms.values())).sum()
        return Loss(total, {name: term.detach() for name, term in terms.items()})

    def beta(self, progress: Progress) -> float:
        """β: the weight of the exits; the teacher has the rest."""
        return self.beta_start * float((self.beta_end / self.beta_start) ** progress.fraction)

    def train(self, mode: bool = True) -> UDAKD:
        """Like any module, the teacher included: its batch normalization learns the target's statistics too."""
        super().train(mode)
        self.teacher.network.train(mode)
        return self

    def optimizers(self) -> list[Optimizer]:
        """The teacher's optimizer, which `forward` steps."""
        return [self.teacher_optimizer]

    def report(self) -> dict[str, float]:
        """The teacher's terms, without (1−β), on the last batch."""
        return {name: float(term) for name, term in self._last.items()}

    def _adversarial(self, source: ExitOutputs, target: ExitOutputs, strength: float) -> tuple[Tensor, Tensor]:
        """Summed over the student exits: adv_tgt, and adv_src with no gradient to the exits."""
        adversarial, discriminator_losses = [], []
        features = zip(source.pooled[self.first :], target.pooled[self.first :], strict=True)
        for discriminator, (of_source, of_target) in zip(self.discriminators, features, strict=True):
            adversarial.append(discriminator(of_target, False, strength))
            discriminator_losses.append(discriminator(of_source, True, 0.0))
        return torch.stack(adversarial).sum(), torch.stack(discriminator_losses).sum()

    def _step_teacher(self, batch: Batch, known: Tensor, beta: float, strength: float, progress: Progress) -> None:
        for group in self.teacher_optimizer.param_groups:
            group["lr"] = self.teacher_lr / (1 + 10 * progress.fraction) ** 0.75
        logits, pooled = self.teacher(batch.images)
        hard = self.hard_labels(logits[known].unsqueeze(1), batch.labels[known]).sum()
        on_source = self.teacher_discriminator(pooled[known], True, strength)
        on_target = self.teacher_discriminator(pooled[~known], False, strength)
        adversarial = self.gamma * (on_source + on_target)
        ((1 - beta) * (hard + adversarial)).backward()
        average_gradients(self.teacher_optimizer, len(batch.labels))
        self.teacher_optimizer.step()
        self.teacher_optimizer.zero_grad()
        terms = {"teacher_labels": hard, "teacher_adversarial": adversarial}
        self._last = {name: mean_over_ranks(term.detach(), len(batch.labels)) for name, term in terms.items()}
