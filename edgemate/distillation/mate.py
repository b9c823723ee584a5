"""`mate`: Multi-exit self-distillation with Appropriate TEachers.

Sun, Chen, Wang, Ye, Feng, Chen: "Multi-exit self-distillation with appropriate teachers", Frontiers of Information
Technology & Electronic Engineering 25(4):585-599, 2024, doi 10.1631/FITEE.2200644.

What the abstract states, and this file follows: there are several ensemble teachers; each is made of all exits, with
trainable weights of its own; each exit learns from all teachers, mainly from its primary teacher, so that the gap
between the two stays appropriate. The full text and any code are not public. Everything else here is **our
reconstruction**: the softmax over rows of `a`, the weights g of the teachers, temperature and α, how the teachers
themselves learn, and the term with μ. Figures made with it are figures of this reconstruction.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.terms import cross_entropies, kl_to, weighted
from edgemate.models import ExitOutputs

Weights = Literal["learned", "uniform", "geometric", "last_exit"]


class MATE(Method):
    """K ensemble teachers with trainable weights; exit k learns from all of them, mainly from teacher k.

        teacher k   t_k = Σ_j softmax(a_k)_j · z_j,  a ∈ R^{K×K}
        exit i      L_i = CE(z_i, y) + α · Σ_k g_ik · T² · KL(s_T(sg t_k) ‖ s_T(z_i)),  g_ii = λ, g_ik = (1−λ)/(K−1)
        teachers    L_T = Σ_k [CE(t'_k, y) + μ · T² · KL(s_T(t'_k) ‖ sg s_T(z_k))],  t'_k = Σ_j softmax(a_k)_j · sg(z_j)
        loss        Σ_i L_i + L_T

    The exits are moved by the labels and the teachers, never through a teacher; `a` is moved by L_T alone. Without
    the term in μ all rows of `a` converge to one ensemble, and the teachers stop being different ones.

    Args:
        setting: what it is built for.
        temperature: T.
        alpha: α, weight of the teachers beside the labels.
        primary: λ, share of the primary teacher.
        proximity: μ, pull of teacher k towards the exit that it is primary for.
        start: every row of `a` starts as `start` on its own exit and 0 elsewhere.
        weights: `learned`, or frozen at one ensemble for all teachers: `uniform` is EED's logit target, `geometric`
            BEED's (weight ∝ 1.6^{k−1}), `last_exit` BYOT's. Frozen teachers have no L_T.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        temperature: Annotated[float, Field(gt=0)] = 3.0,
        alpha: Annotated[float, Field(ge=0)] = 1.0,
        primary: Annotated[float, Field(ge=0, le=1)] = 0.7,
        proximity: Annotated[float, Field(ge=0)] = 1.0,
        start: Annotated[float, Field(ge=0)] = 0.5,
        weights: Weights = "learned",
    ) -> None:
        super().__init__(setting)
        self.temperature, self.alpha, self.proximity = temperature, alpha, proximity
        self.learned = weights == "learned"
        k = setting.exits
        scores = start * torch.eye(k) if self.learned else _frozen_scores(weights, k)
        self.scores = nn.Parameter(scores, requires_grad=self.learned)
        shares = torch.full((k, k), (1 - primary) / max(k - 1, 1))
        shares.fill_diagonal_(primary if k > 1 else 1.0)
        self.register_buffer("shares", shares, persistent=False)
        self.shares: Tensor

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The exits' losses plus the teachers' own."""
        logits = outputs.logits
        taught = logits.detach()
        hard = cross_entropies(logits, batch.labels, self.setting.label_smoothing).sum()
        soft = self.alpha * self._from_teachers(logits, taught)
        total = hard + soft
        terms = {"labels": hard.detach(), "teachers": soft.detach()}
        if self.learned:
            teachers = self.teachers(taught)
            own = cross_entropies(teachers, batch.labels, self.setting.label_smoothing).sum()
            near = self.proximity * self._gap(teachers, taught)
            total = total + own + near
            terms |= {"teacher_labels": own.detach(), "teacher_gap": near.detach()}
        return Loss(total, terms)

    def teachers(self, logits: Tensor) -> Tensor:
        """Logits of the K teachers, (N, K, C) → (N, K, C). Gradients flow to whatever requires them."""
        return weighted(logits, self.weights())

    def weights(self) -> Tensor:
        """Row k: the weights of teacher k over exits, (K, K), each row summing to 1."""
        return F.softmax(self.scores, 1)

    def report(self) -> dict[str, float]:
        """Weight of every exit in every teacher, both counted from 1."""
        rows = self.weights().detach().cpu().tolist()
        return {f"teacher{k}_exit{j}": weight for k, row in enumerate(rows, 1) for j, weight in enumerate(row, 1)}

    def _from_teachers(self, logits: Tensor, taught: Tensor) -> Tensor:
        """Σ_i Σ_k g_ik · T² · KL(s_T(t_k) ‖ s_T(z_i)), through the mixture Σ_k g_ik s_T(t_k): K terms instead of K²."""
        with torch.no_grad():
            log_teachers = F.log_softmax(self.teachers(taught) / self.temperature, -1)
            teachers = log_teachers.exp()
            mixture = weighted(teachers, self.shares)
            negative_entropy = (teachers * log_teachers).sum(-1) @ self.shares.sum(0)
        students = F.log_softmax(logits / self.temperature, -1)
        return self.temperature**2 * (negative_entropy - (mixture * students).sum((-2, -1))).mean()

    def _gap(self, teachers: Tensor, taught: Tensor) -> Tensor:
        """Σ_k T² · KL(s_T(t'_k) ‖ s_T(z_k)): gradients reach the teacher, not the exit."""
        return kl_to(teachers, taught, self.temperature).sum()


def _frozen_scores(weights: Weights, k: int) -> Tensor:
    """Scores whose softmax is the named ensemble, in every row."""
    row = torch.zeros(k)
    if weights == "geometric":
        row = torch.arange(k) * torch.log(torch.tensor(1.6))
    elif weights == "last_exit":
        row = torch.full((k,), -torch.inf)
        row[-1] = 0.0
    return row.expand(k, k).clone()
