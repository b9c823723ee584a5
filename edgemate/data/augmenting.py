"""The augmentations and corruptions that a recipe names; a user's own are tried on a black image first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.transforms import v2

from edgemate.config import Part
from edgemate.core.input_spec import InputSpec
from edgemate.data.corruption import Corruption
from edgemate.data.transforms import seeded
from edgemate.errors import UsageError
from edgemate.registry import AUGMENTATIONS, CORRUPTIONS


def make_augmentations(parts: Sequence[Part], spec: InputSpec) -> list[v2.Transform]:
    """The augmentations of a recipe, in order.

    Raises:
        UsageError: an option is out of range, or a user's own augmentation fails or does not return a uint8 image.
    """
    made = []
    for i, part in enumerate(parts):
        augmentation = AUGMENTATIONS.make(part.name, Callable, spec, **part.options)
        if part.name not in AUGMENTATIONS:
            black = torch.zeros((spec.channels, spec.height, spec.width), dtype=torch.uint8)
            with seeded(0):
                tried = AUGMENTATIONS.call(part.name, augmentation, black)
            if not isinstance(tried, Tensor) or tried.dtype != torch.uint8 or tried.ndim != 3:
                given = f"{tried.dtype} {tuple(tried.shape)}" if isinstance(tried, Tensor) else type(tried).__name__
                raise UsageError(
                    f"data.augmentation.{i}: {part.name} must turn a uint8 tensor (C, H, W) into another, not {given}"
                )
        made.append(augmentation)
    return made


def make_corruptions(parts: Sequence[Part]) -> list[Corruption]:
    """The corruptions of a recipe's second domain, in order. Raises UsageError likewise."""
    return [CORRUPTIONS.make(part.name, Callable, **part.options) for part in parts]
