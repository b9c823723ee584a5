"""From decoded pictures to the network's input, for evaluation and for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tvf

from edgemate.data.batchwise import batchwise, stack
from edgemate.data.input_facts import InputFacts
from edgemate.data.source import Pictures
from edgemate.errors import DataError

Indices = npt.NDArray[np.int64]


class EvaluationTransform:
    """Resize and crop by PIL, as torchvision v2 does it on PIL pictures, then scale to [0, 1] and normalise."""

    def __init__(self, facts: InputFacts) -> None:
        self._facts = facts
        self._normalise = Normalise(facts)

    def __call__(self, pictures: Pictures, indices: Indices) -> Tensor:
        """The pictures at `indices` (N,) as float32 (N, C, H, W)."""
        array = pictures.array
        if array is not None and self._facts.resize is None:
            return self._normalise(_gather(array, indices))
        return self._normalise(torch.stack([_pixels(fit(pictures.picture(int(i)), self._facts)) for i in indices]))


class TrainingTransform:
    """Augmentation of the uint8 pictures, then scaling and normalisation of the whole batch.

    The facts' resize and crop come first, as far as no augmentation does their work: random_resized_crop takes whole
    pictures, random_crop takes them uncropped.

    Args:
        facts: of the network's input.
        augmentations: torchvision v2 transforms of uint8 (C, H, W), in order. What they draw, they must draw from
            torch's global generator on the CPU.

    Attributes:
        facts: as given.
        augmentations: as given.
    """

    def __init__(self, facts: InputFacts, augmentations: Sequence[v2.Transform] = ()) -> None:
        self.facts = facts
        self._normalise = Normalise(facts)
        self.augmentations = tuple(augmentations)
        self._batchwise = [batchwise(augmentation) for augmentation in augmentations]
        self._resizes = not any(isinstance(a, v2.RandomResizedCrop) for a in augmentations)
        self._crops = not any(isinstance(a, v2.RandomCrop) for a in augmentations)
        self._one_size = self._resizes and (self._crops or facts.center_crop is None)

    def __call__(self, pictures: Pictures, indices: Indices, seed: int) -> Tensor:
        """The pictures at `indices` (N,), augmented, as float32 (N, C, H, W).

        A pure function of its arguments: torch's global generator neither matters nor moves.

        Raises:
            DataError: an augmentation leaves pictures of another shape than the network takes.
        """
        prepared = self._prepare(pictures, indices)
        with seeded(seed):
            if isinstance(prepared, Tensor):
                for augment in self._batchwise:
                    prepared = augment(prepared)
            else:
                prepared = stack([self._augment_one(picture) for picture in prepared])
        wanted = (self.facts.channels, self.facts.height, self.facts.width)
        if prepared.shape[1:] != wanted or prepared.dtype != torch.uint8:
            raise DataError(
                f"data.augmentation leaves {prepared.dtype} pictures of shape {tuple(prepared.shape[1:])}; "
                f"the network takes torch.uint8 of {wanted}: drop what changes them or set data.image_size"
            )
        return self._normalise(prepared)

    def _prepare(self, pictures: Pictures, indices: Indices) -> Tensor | list[Tensor]:
        array = pictures.array
        if array is not None and (self.facts.resize is None or not self._resizes):
            return _gather(array, indices)
        ready = []
        for i in indices:
            picture = pictures.picture(int(i))
            ready.append(_pixels(fit(picture, self.facts, crop=self._crops) if self._resizes else picture))
        return torch.stack(ready) if self._one_size else ready

    def _augment_one(self, picture: Tensor) -> Tensor:
        for augmentation in self.augmentations:
            picture = augmentation(picture)
        return picture


class Normalise:
    """uint8 (..., C, H, W) on `device` to float32: scaled to [0, 1], less the mean, by the standard deviation."""

    def __init__(self, facts: InputFacts, device: torch.device | str = "cpu") -> None:
        self._mean = torch.tensor(facts.mean, dtype=torch.float32, device=device).view(-1, 1, 1)
        self._std = torch.tensor(facts.std, dtype=torch.float32, device=device).view(-1, 1, 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        """The network's input of the pixels' shape."""
        return pixels.to(torch.float32).mul_(1 / 255).sub_(self._mean).div_(self._std)


def fit(picture: Image.Image, facts: InputFacts, crop: bool = True) -> Image.Image:
    """The picture after the facts' resize and, where wanted, centre crop."""
    if facts.resize is not None:
        size = facts.resize.size
        picture = tvf.resize(
            picture, [size] if isinstance(size, int) else list(size), InterpolationMode(facts.resize.interpolation)
        )
    if crop and facts.center_crop is not None:
        picture = tvf.center_crop(picture, list(facts.center_crop))
    return picture


def _pixels(picture: Image.Image) -> Tensor:
    pixels: Tensor = tvf.pil_to_tensor(picture)
    return pixels


def _gather(array: npt.NDArray[np.uint8], indices: Indices) -> Tensor:
    return torch.from_numpy(array[indices]).permute(0, 3, 1, 2).contiguous()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global generator on the CPU set to `seed` within, and afterwards where it was before."""
    # torch.manual_seed would also move the generators of GPUs, which fork_rng(devices=[]) does not put back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
