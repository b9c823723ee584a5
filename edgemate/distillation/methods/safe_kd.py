"""`safe_kd`: SAFE-KD (Khazem, arXiv 2602.03043): an averaged copy of the network teaches all exits by decoupled KD.

Known to us from the abstract: a strong teacher is distilled into all exits by Decoupled Knowledge Distillation, and
exits are held consistent from deep to shallow; and from a summary, that the teacher is an exponential moving average of
the network. Decoupled KD itself is Zhao et al., CVPR 2022, arXiv 2203.08679, with that paper's α and T; its β differs
from pair to pair, and ours is that of its authors' ResNet-56 → ResNet-20 on CIFAR-100 (megvii-research/mdistiller). The
rest is **our reconstruction**: that the averaged network's last exit teaches, the form and weight of the consistency
term, the averaging (batch statistics too) and its beginning, and the rise of the teacher's term. The thresholds by
conformal risk control, the paper's other half, belong to the exit policies and not to the objective.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from edgemate.config import Tune
from edgemate.distillation.method import Batch, Loss, Method, Progress, Setting
from edgemate.distillation.terms import kl_to, ramp
from edgemate.distributed.reduce import sum_over_ranks
from edgemate.models import ExitOutputs, MultiExitModel


class SafeKD(Method):
    """Σ_k [CE(z_k, y) + r · DKD(t, z_k)] + c Σ_{k<K} T² KL(s_T(sg z_{k+1}) ‖ s_T(z_k)), t the averaged network's z_K.

    DKD = T² (α TCKD + β NCKD), the divergence of teacher and exit between the true class and the rest, and that among
    the rest. The average moves one step towards the network at the start of every training step, by 1 − d in step n
    with d = min(`decay`, (1 + n) / (10 + n)), and is part of the method's state; it sees the same images, in
    evaluation mode and in float32. The smaller d of the first steps keeps the untrained network out of it: with .999
    from the start, a fifth of what it began as is still in the average after 1,500 steps.

    Args:
        setting: what it is built for.
        alpha: α, weight of the true class against the rest.
        beta: β, weight of the classes among the rest.
        temperature: T.
        consistency: c, pull of every exit towards the next deeper one.
        decay: of the average, per step, once n is large enough.
        ramp_up: fraction of the training over which r rises to 1, as exp(−5(1−x)²): the average begins untrained.
    """

    reads_images = True
    weighs_classes = True
    keeps_state = True

    def __init__(
        self,
        setting: Setting,
        *,
        alpha: Annotated[float, Field(ge=0), Tune(0.2, 5.0, log=True)] = 1.0,
        beta: Annotated[float, Field(ge=0), Tune(0.5, 8.0, log=True)] = 2.0,
        temperature: Annotated[float, Field(gt=0), Tune(1.0, 10.0, log=True)] = 4.0,
        consistency: Annotated[float, Field(ge=0), Tune(0.2, 5.0, log=True)] = 1.0,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.999,
        ramp_up: Annotated[float, Field(ge=0, le=1)] = 0.1,
    ) -> None:
        super().__init__(setting)
        self.alpha, self.beta, self.temperature = alpha, beta, temperature
        self.consistency, self.decay, self.ramp_up = consistency, decay, ramp_up
        self.average: MultiExitModel | None = None
        # A float, since an average of the weights (`optimization.ema`) would round an integer down.
        self.register_buffer("steps", torch.zeros(()))
        self.steps: Tensor
        # In this epoch: images the average was right about, and all of them. No buffer, which would be averaged too.
        self._right = torch.zeros(2)
        self._epoch: int | None = None
        # In a tuple, so that the network that is trained is not a submodule.
        self._trained: tuple[MultiExitModel, ...] = ()

    def bind(self, model: MultiExitModel) -> None:
        """Begin the average as a copy of the network."""
        self.average = deepcopy(model).requires_grad_(False).eval()
        self._trained = (model,)

    def train(self, mode: bool = True) -> SafeKD:
        """Like any module, but for the average, which stays in evaluation mode."""
        super().train(mode)
        if self.average is not None:
            self.average.eval()
        return self

    @property
    def label_weight(self) -> float:
        """1 at every exit."""
        return 1.0

    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The three terms and their sum."""
        logits = outputs.logits
        teacher_logits = self._average_logits(batch.images)
        self._count(teacher_logits, batch.labels, progress.epoch)
        decoupled = decoupled_kd(teacher_logits, logits, batch.labels, self.temperature, self.alpha, self.beta)
        terms = {
            "labels": self.hard_labels(logits, batch.labels).sum(),
            "teacher": ramp(progress.fraction, self.ramp_up) * decoupled.sum(),
            "consistency": self.consistency * kl_to(logits[:, 1:].detach(), logits[:, :-1], self.temperature).sum(),
        }
        total = torch.stack(list(terms.values())).sum()
        return Loss(total, {name: term.detach() for name, term in terms.items()})

    def report(self) -> dict[str, float]:
        """Accuracy of the average, which teaches, on the epoch's training images."""
        right, images = self._right.tolist()
        return {"average_accuracy": right / max(images, 1.0)}

    @torch.no_grad()
    def _count(self, teacher_logits: Tensor, labels: Tensor, epoch: int) -> None:
        if epoch != self._epoch:
            self._right = torch.zeros(2, device=labels.device)
            self._epoch = epoch
        right = (teacher_logits[:, 0].argmax(-1) == labels).sum()
        self._right += sum_over_ranks(torch.stack((right, torch.full_like(right, len(labels)))))

    @torch.no_grad()
    def _average_logits(self, images: Tensor) -> Tensor:
        """Move the average by one step and return its logits: (N, 1, C)."""
        assert self.average is not None, "bind() comes before the first step"
        (trained,) = self._trained
        if self.training:
            step = 1 - ((1 + self.steps) / (10 + self.steps)).clamp(max=self.decay)
            self.steps += 1
            now = {**dict(trained.named_parameters()), **dict(trained.named_buffers())}
            for name, tensor in (*self.average.named_parameters(), *self.average.named_buffers()):
                if tensor.is_floating_point():
                    tensor.lerp_(now[name], step.to(tensor.dtype))
                else:
                    tensor.copy_(now[name])
        return self.average.outputs(images).logits[:, -1:].float()


def decoupled_kd(
    target_logits: Tensor, logits: Tensor, labels: Tensor, temperature: float, alpha: float, beta: float
) -> Tensor:
    """T² (α TCKD + β NCKD), batch mean per column (arXiv 2203.08679).

    With p = s_T(z), TCKD is the divergence between (p_y, 1 − p_y) of target and exit, and NCKD that between p over the
    classes but y, normalized.

    Args:
        target_logits: (N, K or 1, C).
        logits: (N, K, C).
        labels: (N,).
        temperature: T.
        alpha: α.
        beta: β.

    Returns:
        (K,).
    """
    true = F.one_hot(labels, logits.shape[-1]).bool().unsqueeze(1)
    target_binary, target_rest = _decoupled(target_logits / temperature, true)
    binary, rest = _decoupled(logits / temperature, true)
    true_class = (target_binary.exp() * (target_binary - binary)).sum(-1)
    # The true class is taken out before exp, where it may overflow.
    others = (target_rest.masked_fill(true, -torch.inf).exp() * (target_rest - rest)).sum(-1)
    return temperature**2 * (alpha * true_class + beta * others).mean(0)


def _decoupled(scaled: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """log (p_y, 1 − p_y), (N, K, 2), and log p/(1 − p_y), (N, K, C), of which only the classes but y mean something."""
    log = F.log_softmax(scaled, -1)
    parts = [log.masked_fill(~which, -torch.inf).logsumexp(-1) for which in (true, ~true)]
    return torch.stack(parts, -1), log - parts[1].unsqueeze(-1)
