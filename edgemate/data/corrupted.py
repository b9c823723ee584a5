"""Images of a dataset with corruptions, the same ones every time an image is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from edgemate.data.corruption import Corruption
from edgemate.data.seeding import Purpose, seed_of
from edgemate.data.source import Images
from edgemate.errors import DataError

Indices = npt.NDArray[np.int64]
_CHUNK = 1_000


@dataclass(frozen=True, eq=False)
class CorruptedImages:
    """Corrupted images of a dataset; implements `Images`.

    Attributes:
        images: of the dataset.
        indices: which of them, int64 (N,).
        labels: int64 (N,), from 0, or −1 for unknown.
        corruptions: applied in this order.
        key: seeds the corruptions, together with an image's index and the corruption's position; not negative.
    """

    images: Images
    indices: Indices
    labels: Indices
    corruptions: Sequence[Corruption]
    key: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    @cached_property
    def array(self) -> npt.NDArray[np.uint8] | None:
        """The corrupted images uint8 (N, H, W, C) if the dataset is in memory, else None."""
        clean = self.images.array
        if clean is None:
            return None
        found = np.empty((len(self), *clean.shape[1:]), np.uint8)
        for start in range(0, len(self), _CHUNK):
            chosen = self.indices[start : start + _CHUNK]
            pixels = torch.from_numpy(clean[chosen]).permute(0, 3, 1, 2)
            found[start : start + len(chosen)] = self._corrupt(pixels, chosen).permute(0, 2, 3, 1).numpy()
        return found

    def image(self, index: int) -> Image.Image:
        """One corrupted image, of mode L or RGB. Raises ImageError where it cannot be read."""
        if self.array is not None:
            pixels = self.array[index]
            return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        at = self.indices[index : index + 1]
        clean = tvf.pil_to_tensor(self.images.image(int(at[0])))
        corrupted: Image.Image = tvf.to_pil_image(self._corrupt(clean.unsqueeze(0), at)[0])
        return corrupted

    def _corrupt(self, pixels: Tensor, indices: Indices) -> Tensor:
        for place, corruption in enumerate(self.corruptions):
            seeds = [seed_of(Purpose.CORRUPTION, *self.key, int(i), place) for i in indices]
            found = corruption(pixels, seeds)
            if found.shape != pixels.shape or found.dtype != torch.uint8:
                raise DataError(
                    f"data.unlabeled.corruptions.{place} returns {found.dtype} of shape {tuple(found.shape[1:])}; "
                    f"it must return torch.uint8 of {tuple(pixels.shape[1:])}, the shape of the image"
                )
            pixels = found
        return pixels
