"""Corruptions by name: what turns the images of one domain into those of another.

A corruption is a callable of uint8 images (N, C, H, W) and one seed per image, and gives uint8 of the same shape.
What it does to an image depends on that image and its seed alone. The options of its factory are those of a recipe.
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

# Partial functions, not lambdas: a worker that is spawned gets them by pickle.
Corruption = Callable[[Tensor, Sequence[int]], Tensor]
NotNegative = Annotated[float, Field(ge=0)]


def invert() -> Corruption:
    """Every pixel v becomes 255 − v."""
    return _invert


def brightness(*, factor: NotNegative = 0.5) -> Corruption:
    """Every pixel times `factor`, clipped at white."""
    return partial(_brightness, factor=factor)


def contrast(*, factor: NotNegative = 0.5) -> Corruption:
    """The distance of every pixel from the image's mean gray times `factor`, clipped."""
    return partial(_contrast, factor=factor)


def gaussian_blur(*, sigma: Annotated[float, Field(gt=0, le=32)] = 1.0) -> Corruption:
    """A Gaussian blur.

    Args:
        sigma: its standard deviation in pixels; the kernel reaches three of them, as far as the image does.
    """
    return partial(_blur, sigma=sigma)


def gaussian_noise(*, sigma: Annotated[float, Field(gt=0, le=1)] = 0.1) -> Corruption:
    """Independent normal noise on every pixel, clipped.

    Args:
        sigma: its standard deviation, of pixels in [0, 1].
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
    # Beyond the border the image is mirrored, which asks for a border narrower than the image.
    reach = max(1, min(math.ceil(3 * sigma), min(pixels.shape[-2:]) - 1))
    blurred: Tensor = tvf.gaussian_blur(pixels, [2 * reach + 1] * 2, [sigma, sigma])
    return blurred


def _noise(pixels: Tensor, seeds: Sequence[int], sigma: float) -> Tensor:
    generator = torch.Generator()
    noise = torch.empty(pixels.shape)
    for n, seed in enumerate(seeds):
        noise[n].normal_(0, 255 * sigma, generator=generator.manual_seed(seed))
    return noise.add_(pixels).round_().clamp_(0, 255).to(torch.uint8)
