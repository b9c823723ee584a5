"""torchvision's RandAugment on a batch: drawn per image, applied to all images at once that drew the same operation.

What is drawn, and the result, is what calling the transform image by image gives.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from edgemate.data.placing import for_each

Operation = tuple[str, float]
"""torchvision's name of an operation, and its magnitude."""


class RandAugment:
    """`v2.RandAugment`, drawn separately for every image.

    Args:
        transform: of torchvision; `can_batch` says whether this version of it is understood.
    """

    def __init__(self, transform: v2.RandAugment) -> None:
        self._transform: Any = transform

    def __call__(self, batch: Tensor) -> Tensor:
        """The images uint8 (N, C, H, W), each changed by operations of its own."""
        return self.apply(batch, self.draw(len(batch), *batch.shape[2:]))

    def draw(self, n: int, height: int, width: int) -> list[list[Operation]]:
        """The operations of n images, in order, from torch's global generator."""
        return for_each(range(n), lambda _: self._draw_one(height, width))

    def _draw_one(self, height: int, width: int) -> list[Operation]:
        transform = self._transform
        space: dict[str, Any] = transform._AUGMENTATION_SPACE
        operations = []
        for _ in range(transform.num_ops):
            name, (magnitudes_of, signed) = transform._get_random_item(space)
            magnitudes = magnitudes_of(transform.num_magnitude_bins, height, width)
            magnitude = 0.0 if magnitudes is None else float(magnitudes[transform.magnitude])
            if magnitudes is not None and signed and torch.rand(()) <= 0.5:
                magnitude = -magnitude
            operations.append((name, magnitude))
        return operations

    def apply(self, batch: Tensor, drawn: list[list[Operation]]) -> Tensor:
        """Apply what was drawn to uint8 (N, C, H, W), on the batch's device; the batch itself stays as it is."""
        transform = self._transform
        batch = batch.clone()
        for step in range(transform.num_ops):
            groups: dict[Operation, list[int]] = defaultdict(list)
            for place, operations in enumerate(drawn):
                if operations[step][0] != "Identity":
                    groups[operations[step]].append(place)
            for (name, magnitude), members in groups.items():
                places = torch.tensor(members).to(batch.device, non_blocking=True)
                batch[places] = transform._apply_image_or_video_transform(
                    batch[places], name, magnitude, interpolation=transform.interpolation, fill=transform._fill
                )
        return batch


def can_batch(transform: v2.Transform) -> bool:
    """Whether it is a RandAugment with the parts that are read here, which torchvision does not document."""
    parts = ("_AUGMENTATION_SPACE", "_get_random_item", "_apply_image_or_video_transform", "_fill", "interpolation")
    return type(transform) is v2.RandAugment and all(hasattr(transform, part) for part in parts)
