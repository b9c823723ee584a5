"""Mixed batches: mixup (Zhang et al., arXiv 1710.09412) and CutMix (Yun et al., arXiv 1905.04899).

Every image is mixed with another one of its batch. Both papers' loss is the mean of the losses under the two labels,
weighed as the images are, so a method is called once per label and needs to know nothing of mixing. For cross-entropy
this equals soft labels; terms that read no labels are the same in both calls.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from edgemate.config import Data
from edgemate.data.seeding import Purpose, permutation, seed_of
from edgemate.distillation.method import Batch, Loss, Method, Progress
from edgemate.errors import UsageError
from edgemate.models import ExitOutputs


class Mixed(NamedTuple):
    """A batch after mixing.

    Attributes:
        images: (N, C, H, W).
        labels: of the image itself, int64 (N,).
        other_labels: of the one that is mixed into it, int64 (N,).
        weight: of the image itself and its label, in [0, 1].
    """

    images: Tensor
    labels: Tensor
    other_labels: Tensor
    weight: float

    @property
    def main_labels(self) -> Tensor:
        """The labels that weigh more, int64 (N,)."""
        return self.labels if self.weight >= 0.5 else self.other_labels


class Mixup:
    """Mixes batches; what is drawn is a function of (seed, epoch, batch) only.

    Args:
        mixup: α of Beta(α, α), from which the weight of an image is drawn once per batch; None without mixup.
        cutmix: α of CutMix, likewise. With both, one of them is chosen per batch, each with probability 1/2.
        seed: not negative.
    """

    def __init__(self, mixup: float | None, cutmix: float | None, seed: int) -> None:
        self.mixup, self.cutmix, self.seed = mixup, cutmix, seed

    def describe(self) -> str:
        """What is mixed, and what training accuracy then means, in one sentence."""
        given = {"mixup": self.mixup, "CutMix": self.cutmix}
        names = " or ".join(f"{name} (α {alpha:g})" for name, alpha in given.items() if alpha is not None)
        return f"images are mixed by {names}; the history's training accuracy is against the label that weighs more"

    def __call__(self, images: Tensor, labels: Tensor, epoch: int, batch: int) -> Mixed:
        """Mix images (N, C, H, W) and labels (N,); the given tensors stay as they are."""
        key = (Purpose.MIXUP, self.seed, epoch, batch)
        generator = np.random.Generator(np.random.PCG64(seed_of(*key)))
        partner = torch.from_numpy(permutation(len(labels), *key)).to(labels.device)
        cuts = self.mixup is None or (self.cutmix is not None and generator.random() < 0.5)
        alpha = self.cutmix if cuts else self.mixup
        assert alpha is not None
        weight = float(generator.beta(alpha, alpha))
        others = images[partner]
        if not cuts:
            return Mixed(torch.lerp(others, images, weight), labels, labels[partner], weight)
        height, width = images.shape[-2:]
        top, bottom, left, right = box(height, width, weight, float(generator.random()), float(generator.random()))
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        pasted = (bottom - top) * (right - left) / (height * width)
        return Mixed(mixed, labels, labels[partner], 1 - pasted)


def mixup_of(section: Data, seed: int, method: Method) -> Mixup | None:
    """What a recipe's `data` section asks for; None where it mixes nothing.

    Raises:
        UsageError: the method steps optimizers of its own, or keeps state with the options that it has.
    """
    if section.mixup is None and section.cutmix is None:
        return None
    name = "mixup" if section.mixup is not None else "cutmix"
    if method.optimizers():
        raise UsageError(f"{name} calls the method twice per batch, and it steps an optimizer; leave {name} out")
    if method.keeps_state:
        raise UsageError(
            f"{name} calls the method twice per batch, which with these options counts as two steps; leave {name} out"
        )
    return Mixup(section.mixup, section.cutmix, seed)


def box(height: int, width: int, weight: float, vertical: float, horizontal: float) -> tuple[int, int, int, int]:
    """CutMix's rectangle: top, bottom, left, right in pixels, its ends excluded.

    Its area is 1 − `weight` of the image's, at the image's aspect ratio; it is clipped at the image's borders.

    Args:
        height: of the image.
        width: of the image.
        weight: of the image that it is cut into.
        vertical: its center, in [0, 1).
        horizontal: its center, in [0, 1).
    """
    side = math.sqrt(1 - weight)
    rows, columns = int(height * side), int(width * side)
    row, column = int(vertical * height), int(horizontal * width)
    top, left = row - rows // 2, column - columns // 2
    return max(top, 0), min(top + rows, height), max(left, 0), min(left + columns, width)


def mixed_loss(method: Method, outputs: ExitOutputs, mixed: Mixed, progress: Progress, parts: float = 1.0) -> Loss:
    """`weight` · L(labels) + (1 − `weight`) · L(other labels), and the terms likewise. `parts` is `Batch`'s."""
    one = method(outputs, Batch(mixed.images, mixed.labels, parts), progress)
    other = method(outputs, Batch(mixed.images, mixed.other_labels, parts), progress)
    weight = mixed.weight
    total = weight * one.total + (1 - weight) * other.total
    return Loss(total, {name: weight * term + (1 - weight) * other.terms[name] for name, term in one.terms.items()})
