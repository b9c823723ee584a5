"""Corruptions by name: they turn the images of one domain into those of another.

A corruption is a callable of uint8 images (N, C, H, W) and one seed per image that returns uint8 of the same shape. The
result for an image depends on that image and its seed only. The options of a factory are those of a recipe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

# Partial functions, not lambdas: they are pickled for spawned workers.
Corruption = Callable[[Tensor, Sequence[int]], Tensor]
NotNegative = Annotated[float, Field(ge=0)]


def invert() -> Corruption:
    """Invert every pixel: v becomes 255 − v."""
    return _invert


def brightness(*, factor: NotNegative = 0.5) -> Corruption:
    """Multiply every pixel by `factor`, clipped at 255."""
    return partial(_brightness, factor=factor)


def contrast(*, factor: NotNegative = 0.5) -> Corruption:
    """Multiply every pixel's distance from the image's mean gray by `factor`, clipped to 0 to 255."""
    return partial(_contrast, factor=factor)


def gaussian_blur(*, sigma: Annotated[float, Field(gt=0, le=32)] = 1.0) -> Corruption:
    """Gaussian blur.

    Args:
        sigma: standard deviation in pixels; the kernel reaches three of them, or to the border of a smaller image.
    """
    return partial(_blur, sigma=sigma)


def gaussian_noise(*, sigma: Annotated[float, Field(gt=0, le=1)] = 0.1) -> Corruption:
    """Independent Gaussian noise on every pixel, clipped.

    Args:
        sigma: standard deviation, for pixels in [0, 1].
    """
    return partial(_noise, sigma=sigma)


def _invert(pixels: Tensor, seeds: Sequence[int]) -> Tensor:
    return 255 - pixels


def _brightness(pixels: Tensor, seeds: Sequence[int], factor: float) -> Tensor:
    changed: Tensor = tvf.adjust_brightness(pixels, factor)
    return changed


def _contrast(pixels: Tensor, seeds: Sequence[int], factor: float) -> Tensor:
    changed: Tensor = tvf.adjust_contrast(pixels, factor)
    return changed


def _blur(pixels: Tensor, seeds: Sequence[int], sigma: float) -> Tensor:
    # The image is padded by reflection, which must be narrower than the image.
    reach = max(1, min(math.ceil(3 * sigma), min(pixels.shape[-2:]) - 1))
    blurred: Tensor = tvf.gaussian_blur(pixels, [2 * reach + 1] * 2, [sigma, sigma])
    return blurred


def _noise(pixels: Tensor, seeds: Sequence[int], sigma: float) -> Tensor:
    generator = torch.Generator()
    noise = torch.empty(pixels.shape)
    for n, seed in enumerate(seeds):
        noise[n].normal_(0, 255 * sigma, generator=generator.manual_seed(seed))
    return noise.add_(pixels).round_().clamp_(0, 255).to(torch.uint8)
