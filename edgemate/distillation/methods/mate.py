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

from edgemate.config import Tune
from edgemate.distillation.boosting import boosted_logits, boosted_mixing
from edgemate.distillation.fusion import FusionHead
from edgemate.distillation.growing_temperature import grow_
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.methods.mate_ensemble import (
    Attention,
    frozen_scores,
    own_exits,
    primary_teachers,
    teacher_fractions,
    weighted_without,
)
from edgemate.distillation.terms import kl_to, ramp, weighted
from edgemate.distributed.reduce import mean_over_ranks
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs, softmax_mixing

Weights = Literal["learned", "uniform", "geometric", "last_exit"]
Near = Literal["own", "next"]
Fraction = Annotated[float, Field(ge=0, le=1)]

_SURE = 0.5
"""Mean confidence of the teachers above which T grows; the default of `last_exit`."""
_HOTTEST = 100.0
"""T never grows past this."""


class MATE(Method):
    """K ensemble teachers with trainable weights; exit k learns from all of them, mainly from teacher k.

        teacher k   t_k = Σ_j softmax(a_k)_j · z_j,  a ∈ R^{K×K}
        exit i      L_i = CE(z_i, y) + α · Σ_k g_ik · T² · KL(s_T(sg t_k) ‖ s_T(z_i)),  g_ii = λ, g_ik = (1−λ)/(K−1)
        teachers    L_T = Σ_k [CE(t'_k, y) + μ · T² · KL(s_T(t'_k) ‖ sg s_T(z_k))],  t'_k = Σ_j softmax(a_k)_j · sg(z_j)
        loss        Σ_i L_i + L_T

    With `moves_exits`, as by default, CE(t'_k, y) is CE(t_k, y): the teachers' hard-label loss also moves the exits
    that they are made of. The KL terms never move an exit through a teacher, and `a` is moved by L_T alone. Without
    the term in μ all rows of `a` converge to one ensemble, and the teachers stop being different ones.

    The defaults are chosen by the mean over exits on the calibration split of small CIFAR-100, options changed one at a
    time (`benchmarks/mate_ablation.py`, benchmarks/results/mate_ablation.md): `moves_exits` and α 4 beside the first
    reconstruction, which is `moves_exits: false` and α 1. The two do different things. α teaches the early exits; it is
    the best of 1, 2, 4 and 8, with six seeds 0.42 ± 0.28 points above 2 and 0.33 ± 0.39 above 8
    (benchmarks/results/mate_alpha.md). `moves_exits` makes the labels weigh more at the exits that the teachers lean
    on, mostly the last one, where joint cross-entropy with K times the weight gets as far by itself. The other options
    stay as reconstructed. One of them was better by more than two standard errors, λ 1 by 0.82 ± 0.33 points; with six
    fresh seeds it was worse by 0.15 ± 0.23 (benchmarks/results/fresh_seeds.md).

    On a frozen pretrained network `boost: 0.5, moves_exits: false, alpha: 1` was the best of eight settings, and is 2.5
    points above the defaults, each at its best learning rate (recipes/README.md, "Methods compared"). Of networks that
    train as a whole it is 0.8 points above them from scratch (two seeds), 1.2 fine-tuned on TrashNet, and 1.1 below on
    Imagenette, where the last exit is far ahead of the others. From scratch the last exit pays for its teachers,
    which lean on weaker exits: there `alpha_last: 0` and a temperature of 1 that grows beside these three bring another
    0.35 points (two seeds; "From scratch"). The defaults stay until it is measured which change helps where.

    `teacher_lr` is 0.1, the rate of the recipes that train from scratch, which it was chosen with. Where a network is
    fine-tuned in few small steps, teachers that learn at its rate stay the even ensembles that they start as; with 0.1
    the mean over exits is 0.6 to 0.7 points higher (recipes/README.md, "Fine-tuned"). No other value was tried there.

    Args:
        setting: what it is built for.
        temperature: T, or where it starts if it grows.
        growth: factor on T after every batch in which the teachers are too sure of themselves, as in `last_exit`: the
            mean over images and teachers of max_c s_T(t_k)_c is above 1/2. At 1 T stays. T is kept in checkpoints.
        alpha: α, weight of the teachers beside the labels.
        ramp_up: fraction of the training over which α rises from almost 0, as exp(−5(1−x)²); 0 begins with all of it.
        primary: λ, weight of the primary teacher.
        primary_last: λ of the last exit, which is the one that may pay for learning from weaker ones; as the others
            if absent.
        alpha_last: α of the last exit, for the same reason; as the others if absent.
        leave_out: exit i learns from teacher k without its own part, Σ_{j≠i} a'_kj · z_j with a' = softmax(a_k) without
            i, scaled to sum to 1. Otherwise that part of the teacher asks the exit to stay as it is. A teacher of exit
            i alone stays whole.
        proximity: μ, pull of teacher k towards the exit that it is held near.
        near: that exit: `own`, or the `next` one, so that a gap stays between an exit and its teacher; then the
            teachers of the last exit are held near the mean of all exits.
        start: every row of `a` starts as `start` on its own exit and 0 elsewhere.
        reach: teacher k is made of exits ≤ k + reach only; of all of them if absent.
        attention: weights differ from image to image: to `a` come scores from the exits' pooled features
            (`Attention`), trained by L_T too.
        teachers: how many; one per exit if absent. Exits and teachers are spread evenly over the depth: an exit's
            primary teacher is the nearest one (the shallower in a tie), and a teacher's own exit is the one nearest to
            it (the deeper in a tie).
        moves_exits: the teachers' cross-entropy moves the exits too, each as far as they weigh it, as in ONE (Lan,
            Zhu, Gong; NeurIPS 2018); without it an exit is moved by its own labels and by the teachers alone. Frozen
            teachers have no such term.
        teacher_lr: learning rate of the teachers' weights, which the schedule scales. It is one of their own, since the
            steps that suit pretrained weights leave them where they start.
        boost: w, 0 for none. Every exit adds to w times the sum before it, G_k = z_k + sg(w · G_{k−1}), and all of the
            above is about G instead of z. The deployed exits return G. That exits are sums is BoostNet's (`boosted`).
        fusion: φ, 0 for none. One more teacher z_f, of weight φ beside α: a head that reads the pooled features of all
            exits (`FusionHead`), with the loss CE(z_f, y) + T² · KL(s_T(sg z̄) ‖ s_T(z_f)), z̄ the mean of all exits,
            which flows on into the features. That a fusion teaches is LOTH's (`loth`); layer normalization is ours.
        weights: `learned`, or frozen at one ensemble for all teachers: `uniform` is EED's logit target, `geometric`
            BEED's (weight ∝ 1.6^{k−1}), `last_exit` BYOT's. Frozen teachers have no L_T.

    Raises:
        UsageError: `reach` or `attention` beside frozen weights; `boost` where the recipe asks for another ensemble.
    """

    weighs_classes = True

    def __init__(
        self,
        setting: Setting,
        *,
        temperature: Annotated[float, Field(gt=0), Tune(1.0, 8.0, log=True)] = 3.0,
        growth: Annotated[float, Field(ge=1)] = 1.0,
        alpha: Annotated[float, Field(ge=0), Tune(0.5, 8.0, log=True)] = 4.0,
        ramp_up: Fraction = 0.0,
        primary: Annotated[float, Field(ge=0, le=1), Tune(0.3, 1.0)] = 0.7,
        primary_last: Fraction | None = None,
        alpha_last: Annotated[float, Field(ge=0)] | None = None,
        leave_out: bool = False,
        proximity: Annotated[float, Field(ge=0), Tune(0.1, 4.0, log=True)] = 1.0,
        near: Near = "own",
        start: Annotated[float, Field(ge=0)] = 0.5,
        reach: Annotated[int, Field(ge=0)] | None = None,
        attention: bool = False,
        teachers: Annotated[int, Field(ge=1, le=256)] | None = None,
        moves_exits: bool = True,
        teacher_lr: Annotated[float, Field(ge=0)] = 0.1,
        boost: Fraction = 0.0,
        fusion: Annotated[float, Field(ge=0)] = 0.0,
        weights: Weights = "learned",
    ) -> None:
        super().__init__(setting)
        self.temperature, self.ramp_up, self.proximity = temperature, ramp_up, proximity
        self.growth, self.keeps_state = growth, growth > 1
        self.register_buffer("grown", torch.tensor(float(temperature)) if growth > 1 else None)
        self.grown: Tensor | None
        self.teacher_lr, self.moves_exits, self.leave_out, self.near = teacher_lr, moves_exits, leave_out, near
        self.learned = weights == "learned"
        if not self.learned and (attention or reach is not None):
            given = "attention" if attention else "reach"
            raise UsageError(f"mate: {given} belongs to learned weights; leave it out, or set weights: learned")
        if boost and setting.ensemble != "none":
            raise UsageError(f"mate: boost deploys sums of logits; set exits.ensemble: none, not {setting.ensemble}")
        self.boost, self.fusion = boost, fusion
        k, t = setting.exits, teachers or setting.exits
        own = own_exits(k, t)
        scores = start * F.one_hot(torch.tensor(own), k).float() if self.learned else frozen_scores(weights, k, t)
        self.scores = nn.Parameter(scores, requires_grad=self.learned)
        out_of_reach = [[reach is not None and j > i + reach for j in range(k)] for i in own]
        self.register_buffer("limits", torch.zeros(t, k).masked_fill(torch.tensor(out_of_reach), -torch.inf), False)
        self.limits: Tensor
        self.register_buffer("own_exits", torch.tensor(own), persistent=False)
        self.own_exits: Tensor
        last = primary if primary_last is None else primary_last
        self.register_buffer("fractions", teacher_fractions(k, t, primary, last), persistent=False)
        self.fractions: Tensor
        strengths = torch.full((k,), float(alpha))
        if alpha_last is not None:
            strengths[-1] = alpha_last
        self.register_buffer("strengths", strengths, persistent=False)
        self.strengths: Tensor
        self.fused = FusionHead(setting.pooled_widths, setting.classes, nn.LayerNorm) if fusion else None
        self.attention = Attention(setting.pooled_widths, own) if attention else None
        if attention:
            self.register_buffer("mean_weights", F.softmax(scores + self.limits, -1))
            self.mean_weights: Tensor

    @property
    def label_weight(self) -> float:
        """1, and the teachers' labels where they move the exits: one more with a teacher per exit."""
        return 1 + len(self.scores) / self.setting.exits * (self.learned and self.moves_exits)

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The exits' losses plus the teachers' own."""
        logits = boosted_logits(outputs.logits, self.boost) if self.boost else outputs.logits
        weights = self._batch_weights(outputs.pooled)
        teachers = weighted(logits.detach(), weights)
        temperature = self.temperature if self.grown is None else self.grown.clone()  # what backward will see
        exits_log = F.log_softmax(logits / temperature, -1)
        teachers_log = F.log_softmax(teachers / temperature, -1)
        hard = self.hard_labels(logits, batch.labels).sum()
        if self.leave_out:
            taught = self._from_others(exits_log, weighted_without(logits.detach(), weights.detach()), temperature)
        else:
            taught = self._from_teachers(exits_log, teachers_log.detach(), temperature)
        soft = ramp(progress.fraction, self.ramp_up) * taught
        total = hard + soft
        terms = {"labels": hard.detach(), "teachers": soft.detach()}
        if self.learned:
            judged = weighted(logits, weights) if self.moves_exits else teachers
            own = self.hard_labels(judged, batch.labels).sum()
            near = self.proximity * self._gap(
                teachers_log, self._held_near(logits, exits_log, temperature).detach(), temperature
            )
            total = total + own + near
            terms |= {"teacher_labels": own.detach(), "teacher_gap": near.detach()}
        if self.fused is not None:
            fused = self._fused_terms(self.fused(outputs.pooled), logits, batch.labels, progress.fraction, temperature)
            total = total + torch.stack(list(fused.values())).sum()
            terms |= {name: term.detach() for name, term in fused.items()}
        if self.grown is not None and self.training:
            grow_(
                self.grown,
                teachers.detach(),
                growth=self.growth,
                threshold=_SURE,
                limit=max(_HOTTEST, self.temperature),
            )
        return Loss(total, terms)

    def teachers(self, logits: Tensor) -> Tensor:
        """Logits of the teachers by `weights`, of the exits' own (N, K, C) → (N, T, C).

        Gradients flow to whatever requires them.
        """
        return weighted(boosted_logits(logits, self.boost) if self.boost else logits, self.weights())

    def weights(self) -> Tensor:
        """Row k: the weights of teacher k over exits, (T, K), each row summing to 1.

        With attention their mean over the last batch that was trained on.
        """
        return F.softmax(self.scores + self.limits, -1) if self.attention is None else self.mean_weights

    def mixing(self) -> Tensor | None:
        """With `boost` its sums; where a learned ensemble is asked for, exit k's primary teacher of exits ≤ k alone.

        Otherwise None; also with frozen weights, which are not learned, and with attention, which has others for every
        image.
        """
        if self.boost:
            return boosted_mixing(self.setting.exits, self.boost)
        if self.setting.ensemble != "learned" or not self.learned or self.attention is not None:
            return None
        rows = primary_teachers(self.setting.exits, len(self.scores))
        return softmax_mixing((self.scores + self.limits)[rows])

    def learning_rates(self) -> dict[nn.Parameter, float]:
        """That of the teachers' weights."""
        return {self.scores: self.teacher_lr} if self.learned else {}

    def report(self) -> dict[str, float]:
        """Weight of every exit in every teacher, both counted from 1; and T, if it grows."""
        rows = self.weights().detach().cpu().tolist()
        found = {f"teacher{k}_exit{j}": weight for k, row in enumerate(rows, 1) for j, weight in enumerate(row, 1)}
        return found if self.grown is None else found | {"temperature": float(self.grown)}

    def _batch_weights(self, pooled: tuple[Tensor, ...]) -> Tensor:
        """The weights on this batch, (T, K), or (N, T, K) with attention."""
        if self.attention is None:
            weights = self.weights()
        else:
            weights = F.softmax(self.scores + self.limits + self.attention(pooled), -1)
            if self.training:
                self.mean_weights.copy_(mean_over_ranks(weights.detach().mean(0), len(weights)))
        return weights

    def _from_teachers(self, exits: Tensor, teachers: Tensor, temperature: float | Tensor) -> Tensor:
        """Σ_i α_i Σ_k g_ik · T² · KL(s_T(t_k) ‖ s_T(z_i)).

        Through the mixture Σ_k g_ik s_T(t_k), which takes K terms instead of K².
        Both are logarithms of s_T, (N, K, C) and (N, T, C).
        """
        probabilities = teachers.exp()
        mixture = weighted(probabilities, self.fractions)
        # Subtracted class by class: the two sums are large beside their difference.
        negative_entropy = weighted(probabilities * teachers, self.fractions)
        return temperature**2 * ((negative_entropy - mixture * exits).sum(-1).mean(0) @ self.strengths)

    def _from_others(self, exits: Tensor, teachers: Tensor, temperature: float | Tensor) -> Tensor:
        """The same where every exit has teachers of its own: logarithms of s_T (N, K, C), and logits (N, T, K, C)."""
        log = F.log_softmax(teachers / temperature, -1)
        gaps = (log.exp() * (log - exits.unsqueeze(1))).sum(-1).mean(0)
        return temperature**2 * ((self.fractions * gaps.T).sum(1) @ self.strengths)

    def _fused_terms(
        self, fused: Tensor, logits: Tensor, labels: Tensor, passed: float, temperature: float | Tensor
    ) -> dict[str, Tensor]:
        """What the exits learn from the fused teacher (N, 1, C), and what it learns from the labels and from them."""
        taught = kl_to(fused.detach(), logits, temperature).sum()
        return {
            "fusion": ramp(passed, self.ramp_up) * self.fusion * taught,
            "fusion_labels": self.hard_labels(fused, labels).sum(),
            "fusion_ensemble": kl_to(logits.detach().mean(1, keepdim=True), fused, temperature).sum(),
        }

    def _held_near(self, logits: Tensor, exits: Tensor, temperature: float | Tensor) -> Tensor:
        """What the teachers are pulled towards, (N, T, C), of logits (N, K, C); `exits` and the result: logs of s_T."""
        if self.near == "own":
            return exits[:, self.own_exits]
        mean = F.log_softmax(logits.mean(1, keepdim=True) / temperature, -1)
        return torch.cat([exits, mean], 1)[:, self.own_exits + 1]

    def _gap(self, teachers: Tensor, near: Tensor, temperature: float | Tensor) -> Tensor:
        """Σ_k T² · KL(s_T(t'_k) ‖ sg near_k), from logarithms of s_T: gradients reach the teacher, not the exit."""
        return temperature**2 * (teachers.exp() * (teachers - near)).sum((-2, -1)).mean()
