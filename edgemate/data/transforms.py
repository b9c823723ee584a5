"""From decoded images to the network's input, for evaluation and for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

from edgemate.core.input_spec import InputSpec
from edgemate.core.resizing import center_crop, resize
from edgemate.data.batchwise import batchwise, stack
from edgemate.data.placing import for_each, placed
from edgemate.data.source import Images, name_of
from edgemate.distributed.sharding import Place
from edgemate.errors import DataError

Indices = npt.NDArray[np.int64]


class EvaluationTransform:
    """Resize and crop by PIL, scale to [0, 1] and normalize."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._normalize = Normalize(spec)

    def __call__(self, images: Images, indices: Indices) -> Tensor:
        """The images at `indices` (N,) as float32 (N, C, H, W)."""
        array = images.array
        if array is not None and self._spec.resize is None:
            return self._normalize(_gather(array, indices))
        return self._normalize(torch.stack([_pixels(fitted(images, int(i), self._spec)) for i in indices]))


class TrainingTransform:
    """Augmentation of the uint8 images, then scaling and normalization of the whole batch.

    The resize and crop of the spec come first, unless an augmentation replaces them: random_resized_crop takes whole
    images, random_crop takes uncropped ones.

    Args:
        spec: input specification of the network.
        augmentations: torchvision v2 transforms of uint8 (C, H, W), in order. They must draw from torch's global
            generator on the CPU only.

    Attributes:
        spec: as given.
        augmentations: as given.
        one_size: all images have the network's input size before they are augmented.
    """

    def __init__(self, spec: InputSpec, augmentations: Sequence[v2.Transform] = ()) -> None:
        self.spec = spec
        self._normalize = Normalize(spec)
        self.augmentations = tuple(augmentations)
        self._batchwise = [batchwise(augmentation) for augmentation in augmentations]
        self._resizes = not any(isinstance(a, v2.RandomResizedCrop) for a in augmentations)
        self._crops = not any(isinstance(a, v2.RandomCrop) for a in augmentations)
        self.one_size = self._resizes and (self._crops or spec.center_crop is None)

    def __call__(self, images: Images, indices: Indices, seed: int, place: Place | None = None) -> Tensor:
        """The images at `indices` (N,), augmented, as float32 (N, C, H, W).

        A pure function of its arguments: torch's global generator is neither used nor changed. With a `place`, the
        images are those of a batch at that place, and `seed` is the batch's; see `edgemate.data.placing.placed`.

        Raises:
            DataError: the augmented images do not have the shape or dtype of the network's input.
        """
        prepared = self._prepare(images, indices)
        with seeded(seed), placed(place):
            if isinstance(prepared, Tensor):
                for augment in self._batchwise:
                    prepared = augment(prepared)
            else:
                prepared = stack(for_each(prepared, self._augment_one))
        wanted = (self.spec.channels, self.spec.height, self.spec.width)
        if prepared.shape[1:] != wanted or prepared.dtype != torch.uint8:
            raise DataError(
                f"data.augmentation leaves {prepared.dtype} images of shape {tuple(prepared.shape[1:])}; "
                f"the network takes torch.uint8 of {wanted}: drop what changes them or set data.image_size"
            )
        return self._normalize(prepared)

    def _prepare(self, images: Images, indices: Indices) -> Tensor | list[Tensor]:
        array = images.array
        if array is not None and (self.spec.resize is None or not self._resizes):
            return _gather(array, indices)
        ready: list[Tensor] = []
        for position, i in enumerate(indices):
            if position and i == indices[position - 1]:  # repeated augmentation: decoded once
                ready.append(ready[-1])
                continue
            image = fitted(images, int(i), self.spec, self._crops) if self._resizes else images.image(int(i))
            ready.append(_pixels(image))
        return torch.stack(ready) if self.one_size else ready

    def _augment_one(self, image: Tensor) -> Tensor:
        for augmentation in self.augmentations:
            image = augmentation(image)
        return image


class Normalize:
    """Normalize uint8 (..., C, H, W) on `device`: scale to [0, 1], subtract the mean, divide by the std."""

    def __init__(self, spec: InputSpec, device: torch.device | str = "cpu") -> None:
        self._mean = torch.tensor(spec.mean, dtype=torch.float32, device=device).view(-1, 1, 1)
        self._std = torch.tensor(spec.std, dtype=torch.float32, device=device).view(-1, 1, 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        """float32 of the same shape."""
        return pixels.to(torch.float32).mul_(1 / 255).sub_(self._mean).div_(self._std)


def fitted(images: Images, index: int, spec: InputSpec, crop: bool = True) -> Image.Image:
    """An image after the resize of `spec` and, unless `crop` is False, its center crop.

    Raises:
        ImageError: it cannot be read, or it is so long and thin that it would become too large; the file is named.
    """
    image = images.image(index)
    if spec.resize is not None:
        image = resize(image, spec.resize, name_of(images, index))
    if crop and spec.center_crop is not None:
        image = center_crop(image, spec.center_crop)
    return image


def _pixels(image: Image.Image) -> Tensor:
    pixels: Tensor = tvf.pil_to_tensor(image)
    return pixels


def _gather(array: npt.NDArray[np.uint8], indices: Indices) -> Tensor:
    return torch.from_numpy(array[indices]).permute(0, 3, 1, 2).contiguous()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Set torch's global CPU generator to `seed` within the block, and restore its state afterwards."""
    # torch.manual_seed would also set the generators of GPUs, which fork_rng(devices=[]) does not restore.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
