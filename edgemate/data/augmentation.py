"""Augmentations by name: torchvision v2 transforms of one uint8 image (C, H, W).

Every factory takes the input specification first; the arguments after it are the options of a recipe.
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
    """A crop of the network's input size at a random position, after padding every side.

    Args:
        spec: input specification of the network.
        padding: pixels on every side.
        padding_mode: `constant` pads with black.

    Raises:
        UsageError: the padding is larger than the image allows.
    """
    limit = min(spec.height, spec.width) - (padding_mode == "reflect")
    if padding_mode in ("reflect", "symmetric") and padding > limit:
        raise UsageError(
            f"random_crop: padding is {padding}; {padding_mode} padding allows at most {limit} at this image size"
        )
    return v2.RandomCrop((spec.height, spec.width), padding=padding or None, padding_mode=padding_mode)


def random_resized_crop(spec: InputSpec, *, min_scale: Annotated[float, Field(gt=0, le=1)] = 0.08) -> v2.Transform:
    """A crop of random position, area and aspect ratio (3:4 to 4:3), resized bilinearly to the input (arXiv 1409.4842).

    `data.interpolation` is that of evaluation, and not used here.

    Args:
        spec: input specification of the network.
        min_scale: smallest area, as a fraction of the image's.
    """
    return v2.RandomResizedCrop((spec.height, spec.width), scale=(min_scale, 1.0), antialias=True)


def horizontal_flip(spec: InputSpec, *, p: Probability = 0.5) -> v2.Transform:
    """Flip left to right, with probability `p`."""
    return v2.RandomHorizontalFlip(p)


def random_affine(
    spec: InputSpec,
    *,
    degrees: Annotated[float, Field(ge=0, le=180)] = 10.0,
    translate: Probability = 0.1,
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    shear: Annotated[float, Field(ge=0, lt=90)] = 0.0,
) -> v2.Transform:
    """Rotation, translation, scaling and shear with bilinear interpolation; pixels from outside the image are black.

    Args:
        spec: input specification of the network.
        degrees: largest rotation in either direction.
        translate: largest translation in either direction, as a fraction of the width or height.
        scale: largest change of scale: 0.1 draws factors from 0.9 to 1.1.
        shear: largest horizontal shear in either direction, in degrees.
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
    """Random brightness, contrast, saturation and hue, in random order; the last two do not change gray images.

    Args:
        spec: input specification of the network.
        brightness: 0.2 draws factors from 0.8 to 1.2.
        contrast: like brightness.
        saturation: like brightness.
        hue: largest rotation in either direction, as a fraction of the color circle.
    """
    return v2.ColorJitter(brightness, contrast, saturation, hue)


def auto_augment(spec: InputSpec, *, policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet") -> v2.Transform:
    """The policy that AutoAugment (arXiv 1805.09501) learned on the dataset `policy`."""
    return v2.AutoAugment(v2.AutoAugmentPolicy(policy))


def rand_augment(
    spec: InputSpec,
    *,
    operations: Annotated[int, Field(gt=0)] = 2,
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9,
) -> v2.Transform:
    """RandAugment (arXiv 1909.13719): so many random `operations` of strength `magnitude`, 0 to 30."""
    return v2.RandAugment(operations, magnitude)


def trivial_augment(spec: InputSpec) -> v2.Transform:
    """TrivialAugment (arXiv 2103.10158): one operation of random strength."""
    return v2.TrivialAugmentWide()


def random_erasing(
    spec: InputSpec, *, probability: Probability = 0.5, max_area: Annotated[float, Field(gt=0.02, le=1)] = 0.33
) -> v2.Transform:
    """Erase a random rectangle (arXiv 1708.04896).

    Like all augmentations it works on the uint8 image. It fills with the mean color, which normalization maps to zero
    to within half a gray level, as erasing after normalization would.

    Args:
        spec: input specification of the network.
        probability: that an image has one.
        max_area: largest rectangle, as a fraction of the image; the smallest is 0.02.
    """
    return v2.RandomErasing(probability, scale=(0.02, max_area), value=[float(round(255 * mean)) for mean in spec.mean])
