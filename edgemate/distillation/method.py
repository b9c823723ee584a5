"""The interface of every objective.

A method sees what all exits say of a batch and gives one number to make smaller. It is a module, so what it owns
(teacher weights, gates) trains, checkpoints and resumes with the network; none of that reaches the exported graphs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from edgemate.config import Distillation
from edgemate.models import ExitOutputs, Features, Tap
from edgemate.registry import METHODS


@dataclass(frozen=True)
class Setting:
    """What a method is built for.

    Attributes:
        exits: K.
        classes: C.
        pooled_widths: per exit the width D_k of its pooled feature.
        label_smoothing: share of the target that the hard-label terms spread over all classes.
        taps: per exit the feature map that its head reads.
    """

    exits: int
    classes: int
    pooled_widths: tuple[int, ...]
    label_smoothing: float = 0.0
    taps: tuple[Tap, ...] = ()


class Batch(NamedTuple):
    """What the loader gave.

    Attributes:
        images: float32 (N, C, H, W), augmented and normalised: what the network has seen.
        labels: int64 (N,).
    """

    images: Tensor
    labels: Tensor


class Progress(NamedTuple):
    """How far the training is: epoch counts from 0, `fraction` runs from 0 to 1 over all steps."""

    epoch: int
    epochs: int
    fraction: float


class Loss(NamedTuple):
    """The scalar that is minimised, and the named terms that it is the sum of (detached, for the logs)."""

    total: Tensor
    terms: dict[str, Tensor]


class Method(nn.Module, ABC):
    """Base of all objectives. Subclasses take the setting, then their options as keyword-only arguments."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.setting = setting

    @abstractmethod
    def forward(self, outputs: ExitOutputs, batch: Batch, progress: Progress) -> Loss:
        """The loss of a batch. Logits (N, K, C) and pooled features come in float32 whatever the network ran in."""

    def at_cut(self, exit: int, features: Features) -> tuple[Features, Features]:
        """What head `exit` reads and what the next stage goes on from; for methods that change the gradient there."""
        return features, features

    def teachers(self, logits: Tensor) -> Tensor | None:
        """Logits of the ensemble teachers, (N, K, C) → (N, T, C), or None for a method that has none to show."""
        return None

    def report(self) -> dict[str, float]:
        """Figures on the method's own parameters, for the logs of every epoch."""
        return {}


def build_method(distillation: Distillation, setting: Setting) -> Method:
    """The objective that a recipe's `distillation` section names.

    Raises:
        UsageError: the method does not fit the network (feature terms need equal widths, for example).
    """
    method: Method = METHODS.get(distillation.method)(setting, **distillation.options)
    return method
