"""Augmentations by name: torchvision v2 transforms of one uint8 image (C, H, W).

Every factory takes the spec of the network's input first; what follows are the options a recipe can set.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torchvision.transforms import InterpolationMode, v2

from edgemate.core.input_spec import InputSpec
from edgemate.errors import UsageError

Probability = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


def random_crop(
    spec: InputSpec,
    *,
    padding: Annotated[int, Field(ge=0)] = 4,
    padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant",
) -> v2.Transform:
    """A window of the network's size at a random place, after padding every side.

    Args:
        spec: of the network's input.
        padding: pixels on every side.
        padding_mode: `constant` pads with black.

    Raises:
        UsageError: there are not that many pixels to reflect.
    """
    limit = min(spec.height, spec.width) - (padding_mode == "reflect")
    if padding_mode in ("reflect", "symmetric") and padding > limit:
        raise UsageError(f"random_crop: padding is {padding}; {padding_mode} allows at most {limit} at this image size")
    return v2.RandomCrop((spec.height, spec.width), padding=padding or None, padding_mode=padding_mode)


def random_resized_crop(spec: InputSpec, *, min_scale: Annotated[float, Field(gt=0, le=1)] = 0.08) -> v2.Transform:
    """A window of random place, area and shape (3:4 to 4:3), resized to the network's size (arXiv 1409.4842).

    Args:
        spec: of the network's input.
        min_scale: smallest area, as a share of the whole image's.
    """
    return v2.RandomResizedCrop((spec.height, spec.width), scale=(min_scale, 1.0), antialias=True)


def horizontal_flip(spec: InputSpec, *, p: Probability = 0.5) -> v2.Transform:
    """Left to right, with probability `p`."""
    return v2.RandomHorizontalFlip(p)


def random_affine(
    spec: InputSpec,
    *,
    degrees: Annotated[float, Field(ge=0, le=180)] = 10.0,
    translate: Probability = 0.1,
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    shear: Annotated[float, Field(ge=0, lt=90)] = 0.0,
) -> v2.Transform:
    """Rotation, shift, zoom and shear, bilinear; what comes in from outside is black.

    Args:
        spec: of the network's input.
        degrees: largest rotation either way.
        translate: largest shift either way, as a share of the width or height.
        scale: largest zoom either way: 0.1 draws factors from 0.9 to 1.1.
        shear: largest horizontal shear either way, in degrees.
    """
    return v2.RandomAffine(
        degrees,
        translate=(translate, translate),
        scale=(1 - scale, 1 + scale),
        shear=shear or None,
        interpolation=InterpolationMode.BILINEAR,
    )


def color_jitter(
    spec: InputSpec,
    *,
    brightness: NotNegative = 0.2,
    contrast: NotNegative = 0.2,
    saturation: NotNegative = 0.2,
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0,
) -> v2.Transform:
    """Brightness, contrast, saturation and hue, in random order; the last two leave gray images as they are.

    Args:
        spec: of the network's input.
        brightness: 0.2 draws factors from 0.8 to 1.2; so do the next two.
        contrast: see brightness.
        saturation: see brightness.
        hue: largest turn either way, as a share of the color circle.
    """
    return v2.ColorJitter(brightness, contrast, saturation, hue)


def auto_augment(spec: InputSpec, *, policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet") -> v2.Transform:
    """A policy learned by AutoAugment (arXiv 1805.09501) on the dataset named."""
    return v2.AutoAugment(v2.AutoAugmentPolicy(policy))


def rand_augment(
    spec: InputSpec,
    *,
    num_ops: Annotated[int, Field(gt=0)] = 2,
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9,
) -> v2.Transform:
    """RandAugment (arXiv 1909.13719): `num_ops` operations of strength `magnitude`, of 30."""
    return v2.RandAugment(num_ops, magnitude)


def trivial_augment(spec: InputSpec) -> v2.Transform:
    """TrivialAugment (arXiv 2103.10158): one operation of random strength."""
    return v2.TrivialAugmentWide()


def random_erasing(
    spec: InputSpec, *, p: Probability = 0.5, max_area: Annotated[float, Field(gt=0.02, le=1)] = 0.33
) -> v2.Transform:
    """A random rectangle painted over (arXiv 1708.04896), with probability `p`.

    It runs on the uint8 image, like all augmentations, and paints with the mean color, which normalization turns
    into zeros to within half a gray level: the same as erasing after normalization.

    Args:
        spec: of the network's input.
        p: probability.
        max_area: largest rectangle, as a share of the image; the smallest is 0.02.
    """
    return v2.RandomErasing(p, scale=(0.02, max_area), value=[float(round(255 * mean)) for mean in spec.mean])
