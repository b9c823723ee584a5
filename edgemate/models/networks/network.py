"""What a library gives: a network and how its images are prepared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn


@dataclass(frozen=True)
class InputDefaults:
    """How a library prepares images for pretrained weights; the names are those of the recipe's `data` section.

    Attributes:
        image_size: height and width in pixels; None: the images' own, which are no squares.
        resize_to: shorter side before the center crop, in pixels; None if it is not known.
        interpolation: PIL's filter.
        mean: per channel, of pixels in [0, 1].
        std: per channel.
        resize: how images reach image_size; None if it is not known.
    """

    image_size: int | None
    resize_to: int | None
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Literal["stretch", "shorter_side"] | None = None


@dataclass(frozen=True)
class Network:
    """A network with its own classifier.

    Attributes:
        module: takes images (N, C, H, W) and returns logits.
        trained: its weights are pretrained ones.
    """

    module: nn.Module
    trained: bool = False
