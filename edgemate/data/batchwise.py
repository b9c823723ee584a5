"""Torchvision v2 transforms applied to a batch, with separate random parameters for every image.

A v2 transform draws once per call: one call on a batch would treat all images alike, and one call per image costs more
than training a small network on it. Crops and flips, which nearly every recipe has, are therefore implemented here for
a whole batch, RandAugment is beside it, and any other transform is called image by image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from edgemate.data.placing import drawn, for_each
from edgemate.data.rand_augment import RandAugment, can_batch
from edgemate.errors import DataError


def batchwise(transform: v2.Transform) -> Callable[[Tensor], Tensor]:
    """Apply `transform` to every image of uint8 (N, C, H, W), drawing from torch's global generator."""
    if type(transform) is v2.RandomCrop and not transform.pad_if_needed and transform.fill == 0:
        return Crop(transform)
    if type(transform) is v2.RandomHorizontalFlip:
        return Flip(transform.p)
    if isinstance(transform, v2.RandAugment) and can_batch(transform):
        return RandAugment(transform)
    return _ImageByImage(transform)


class Crop:
    """`v2.RandomCrop`, with a separate random position for every image.

    Attributes:
        size: (height, width) of the crop, in pixels.
        padding: ((top, bottom), (left, right)), in pixels.
        mode: NumPy's padding mode; torchvision's names are the same.
    """

    def __init__(self, transform: v2.RandomCrop) -> None:
        height, width = transform.size
        left, right, top, bottom = transform.padding or (0, 0, 0, 0)
        self.size: tuple[int, int] = (height, width)
        self.padding = ((top, bottom), (left, right))
        self.mode = transform.padding_mode

    def __call__(self, batch: Tensor) -> Tensor:
        """Crops (N, C, *size) of images (N, C, H, W)."""
        padded = torch.from_numpy(np.pad(batch.numpy(), ((0, 0), (0, 0), *self.padding), mode=self.mode))
        return crop_each(padded, *self.draw(len(batch), *batch.shape[2:]), *self.size)

    def draw(self, n: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Upper left corners, top (n,) and left (n,), in the padded images; the images are height × width."""
        (above, below), (before, after) = self.padding
        top = drawn(n, lambda n: torch.randint(0, height + above + below - self.size[0] + 1, (n,)))
        left = drawn(n, lambda n: torch.randint(0, width + before + after - self.size[1] + 1, (n,)))
        return top, left


class Flip:
    """`v2.RandomHorizontalFlip`, drawn separately for every image."""

    def __init__(self, probability: float) -> None:
        self._probability = probability

    def __call__(self, batch: Tensor) -> Tensor:
        """The images (N, C, H, W), some of them flipped."""
        return flip_each(batch, self.draw(len(batch)))

    def draw(self, n: int) -> Tensor:
        """Which of `n` images to flip, bool (n,)."""
        return drawn(n, torch.rand) < self._probability


class _ImageByImage:
    def __init__(self, transform: v2.Transform) -> None:
        self._transform = transform

    def __call__(self, batch: Tensor) -> Tensor:
        return stack(for_each(list(batch), self._transform))


def stack(images: Sequence[Tensor]) -> Tensor:
    """Images (C, H, W) as one batch (N, C, H, W). Raises DataError where they differ in shape."""
    shapes = sorted({tuple(image.shape) for image in images})
    if len(shapes) > 1:
        raise DataError(
            f"data.augmentation leaves images of different shapes, {shapes[0]} and {shapes[-1]}; "
            "replace it by one that gives data.image_size, such as random_crop"
        )
    return torch.stack(list(images))


def crop_each(batch: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Crop every image of (N, C, H, W) at the upper left corner (top[n], left[n])."""
    # NumPy copies windows five times as fast as torch does.
    windows = np.lib.stride_tricks.sliding_window_view(batch.numpy(), (height, width), axis=(2, 3))
    return torch.from_numpy(windows[np.arange(len(batch)), :, top.numpy(), left.numpy()])


def flip_each(batch: Tensor, flip: Tensor) -> Tensor:
    """Flip image n of (N, C, H, W) left to right where flip[n]."""
    pixels, chosen = batch.numpy().copy(), flip.numpy()
    pixels[chosen] = pixels[chosen][..., ::-1]
    return torch.from_numpy(pixels)
