"""`byot`: Be Your Own Teacher (Zhang et al., ICCV 2019, arXiv 1905.08094): the last exit teaches all others.

Formula and defaults as in luanyunteng/pytorch-be-your-own-teacher, a re-implementation.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.terms import masked_squares, require_equal_widths, soft_cross_entropy
from edgemate.models import ExitOutputs


class BYOT(Method):
    """(1−α) Σ_k CE_k + α T² Σ_{k<K} CE(s_T(sg z_K), s_T(z_k)) + β Σ_{k<K} ‖f_k − sg f_K‖².

    The feature term runs over places where f_k > 0 or f_K > 0 and is summed, over the batch too.

    Args:
        setting: what it is built for.
        alpha: weight of the soft labels.
        temperature: T.
        beta: weight of the features; they need equal widths at all exits unless it is 0.
    """

    weighs_classes = True

    def __init__(
        self,
        setting: Setting,
        *,
        alpha: Annotated[float, Field(ge=0, le=1), Tune(0.05, 0.6)] = 0.1,
        temperature: Annotated[float, Field(gt=0), Tune(1.0, 8.0, log=True)] = 3.0,
        beta: Annotated[float, Field(ge=0), Tune(1e-08, 0.0001, log=True)] = 1e-6,
    ) -> None:
        super().__init__(setting)
        if beta:
            require_equal_widths("byot", "distillation.options.beta", setting.pooled_widths)
        self.alpha, self.temperature, self.beta = alpha, temperature, beta

    @property
    def label_weight(self) -> float:
        """1 − α."""
        return 1 - self.alpha

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The three terms and their sum."""
        logits, pooled = outputs.logits, outputs.pooled
        hard = (1 - self.alpha) * self.hard_labels(logits, batch.labels).sum()
        last = logits[:, -1:].detach()
        soft = self.alpha * soft_cross_entropy(last, logits[:, :-1], self.temperature).sum()
        total = hard + soft
        terms = {"labels": hard.detach(), "last_exit": soft.detach()}
        if self.beta:
            target = pooled[-1].detach()
            squares = [masked_squares(feature, target).sum() for feature in pooled[:-1]]
            features = self.beta * batch.parts * sum(squares, start=total.new_zeros(()))
            total = total + features
            terms["features"] = features.detach()
        return Loss(total, terms)
