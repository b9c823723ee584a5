"""The interface of every objective.

A method takes the outputs of all exits for a batch and returns the loss. It is a module, so what it owns (teacher
weights, gates) trains, checkpoints and resumes with the network. Of that, only what `mixing` returns reaches the
exported graphs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from edgemate.config.schema import Ensemble
from edgemate.distillation.teachers.teacher import Teacher
from edgemate.distillation.terms import cross_entropies
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs, Features, MultiExitModel, Tap, mean_mixing


@dataclass(frozen=True)
class Setting:
    """The network and recipe that a method is built for.

    Attributes:
        exits: K.
        classes: C.
        pooled_widths: per exit the width D_k of its pooled feature.
        label_smoothing: fraction of the target that the hard-label terms spread over all classes.
        taps: per exit the feature map that its head reads.
        ensemble: how the recipe combines the exits' logits; see `Method.mixing`.
        unlabeled: there is a second domain, `data.unlabeled`.
        class_weights: per class the weight of an image of that class in the hard-label terms; None weighs all alike.
        teacher: the network of `distillation.teacher`.
    """

    exits: int
    classes: int
    pooled_widths: tuple[int, ...]
    label_smoothing: float = 0.0
    taps: tuple[Tap, ...] = ()
    ensemble: Ensemble = "none"
    unlabeled: bool = False
    class_weights: tuple[float, ...] | None = None
    teacher: Teacher | None = None

    def require_teacher(self, method: str) -> Teacher:
        """The teacher. Raises UsageError, on behalf of that method, where there is none."""
        if self.teacher is None:
            raise UsageError(f"{method} needs a teacher; name one under distillation.teacher")
        return self.teacher


class Batch(NamedTuple):
    """A batch from the loader.

    Attributes:
        images: float32 (N, C, H, W), augmented and normalized: what the network has seen.
        labels: int64 (N,), −1 where an image has none; only methods with `uses_unlabeled` see such.
        parts: how many times as many images the whole step has, over all processes and accumulated micro-batches.
            Gradients are averaged over these, so that means over a batch need nothing; a sum is multiplied by this.
    """

    images: Tensor
    labels: Tensor
    parts: float = 1.0


class Progress(NamedTuple):
    """How far the training is: epoch counts from 0, `fraction` runs from 0 to 1 over all steps."""

    epoch: int
    epochs: int
    fraction: float


class Loss(NamedTuple):
    """The scalar that is minimized, and the named terms that it is the sum of (detached, for the logs)."""

    total: Tensor
    terms: dict[str, Tensor]


class Method(nn.Module, ABC):
    """Base of all objectives. Subclasses take the setting, then their options as keyword-only arguments.

    Attributes:
        uses_unlabeled: it also learns from the images of `data.unlabeled`, which then come in its batches with the
            label −1; a method that does not never sees them.
        needs_teacher: it learns from the network that `distillation.teacher` names; naming one for a method that does
            not is an error.
        reads_images: it reads `Batch.images` itself, as all with `needs_teacher` do. Such a method cannot train on
            cached features, where `Batch.images` is empty.
        has_loss: it trains the exits by itself; one that only changes what others do needs their company.
        weighs_classes: its terms of the labels honor `Setting.class_weights`, as those by `hard_labels` do; where it
            does not, `optimization.class_weights` is an error.
        keeps_state: a call changes what later calls return, by more than the gradients that it causes: it steps an
            optimizer, counts, or has batch normalization. `data.mixup` and `data.cutmix`, which call a method twice
            per batch, are then errors, as they are where there are `optimizers`.
    """

    uses_unlabeled: bool = False
    needs_teacher: bool = False
    reads_images: bool = False
    has_loss: bool = True
    weighs_classes: bool = False
    keeps_state: bool = False

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.setting = setting
        weights = setting.class_weights
        self.register_buffer("_class_weights", None if weights is None else torch.tensor(weights), persistent=False)
        self._class_weights: Tensor | None

    def bind(self, model: MultiExitModel) -> None:
        """Called once, before training and before a checkpoint is read, with the network that is trained."""

    @abstractmethod
    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The loss of a batch. Logits (N, K, C) and pooled features come in float32 whatever the network ran in."""

    @property
    def label_weight(self) -> float | None:
        """What the labels weigh in the loss of an exit, on average over the exits; None where it is not said.

        It is the factor of the cross-entropy's gradient with respect to an exit's own logits. That of ensembles counts
        where they pass it on to the exits that they are made of.
        """
        return None

    def hard_labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of every column with the recipe's label smoothing and class weights: (N, K, C), (N,) → (K,)."""
        return cross_entropies(logits, labels, self.setting.label_smoothing, self._class_weights)

    def at_cut(self, exit: int, features: Features) -> tuple[Features, Features]:
        """Features for head `exit`, and for the next stage. Methods that change the gradient at a cut override it."""
        return features, features

    def teachers(self, logits: Tensor) -> Tensor | None:
        """Logits of the ensemble teachers, (N, K, C) → (N, T, C), or None for a method that has none to show."""
        return None

    def mixing(self) -> Tensor | None:
        """Lower-triangular (K, K) weights of the deployed exits' logits; None if every exit uses its own logits alone.

        A method that has learned an ensemble returns it when `setting.ensemble` is `learned`; one whose exits mean
        nothing by themselves always does.
        """
        return None

    def optimizers(self) -> list[Optimizer]:
        """Optimizers that `forward` steps itself; the recipe's optimizer leaves their parameters alone.

        Their state is kept in checkpoints. Such a method cannot train in fp16, whose gradients need scaling.
        """
        return []

    def learning_rates(self) -> dict[nn.Parameter, float]:
        """Rates of own parameters that do not learn at the recipe's, which the schedule scales as it does that one."""
        return {}

    def report(self) -> dict[str, float]:
        """Figures on the method's own parameters, for the logs of every epoch."""
        return {}


def deployed_mixing(method: Method) -> Tensor | None:
    """W, lower-triangular (K, K), that the recipe and the method ask for now; None: no exit uses another's logits."""
    setting = method.setting
    return mean_mixing(setting.exits) if setting.ensemble == "mean" else method.mixing()
