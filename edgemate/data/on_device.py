"""Images that lie on the training device as uint8, cropped, flipped and normalized there.

Order and augmentation are drawn as the loaders draw them, from the same seeds on the CPU; so the batches are those of
`edgemate.data.loaders`, bit for bit. What travels to the device is, per image, its number and the row and column that
every pixel comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms import v2

from edgemate.core.input_spec import InputSpec
from edgemate.data.batchwise import Crop, Flip, batchwise
from edgemate.data.loaders import EpochBatches, LabeledBatch, TrainingBatch
from edgemate.data.source import Images
from edgemate.data.transforms import Normalize, TrainingTransform, seeded
from edgemate.errors import DataError

Indices = npt.NDArray[np.int64]
# Of the memory that is free, what images may take: the network and its activations need the rest.
SHARE = 0.5
BLACK = -1
"""Stands for a row or column outside the image."""


class ImagesOnDevice:
    """The images at `indices` and their labels, on a device.

    Args:
        images: of a dataset that lies in memory.
        indices: int64 (N,); where batches name images, they count along these.
        spec: of the network's input.
        device: the training's.

    Raises:
        DataError: the images do not lie in memory at the network's size, or do not fit on the device.
    """

    def __init__(self, images: Images, indices: Indices, spec: InputSpec, device: torch.device) -> None:
        array = images.array
        if array is None or spec.resize is not None:
            raise DataError(
                "training.data_on_device is for datasets that lie in memory at the network's size, such as cifar100 "
                "and arrays, without data.image_size; set it to false to have images prepared by a loader"
            )
        needed, free = len(indices) * array[0].nbytes, free_bytes(device)
        if free is not None and needed > SHARE * free:
            raise DataError(
                f"training.data_on_device: {len(indices)} images take {needed / 2**30:.1f} GiB, over half of the "
                f"{free / 2**30:.1f} GiB that are free on {device}; set it to false to have a loader bring them"
            )
        self.size = (spec.height, spec.width)
        self._pixels = torch.from_numpy(array[indices]).to(device)
        self._labels = torch.from_numpy(images.labels[indices]).to(device)
        self._normalize = Normalize(spec, device)

    def batch(self, indices: Indices, rows: Tensor, columns: Tensor) -> LabeledBatch:
        """Normalized images (n, C, h, w), laid out as NHWC in memory, and labels (n,), on the device.

        Args:
            indices: which images, (n,).
            rows: the row that each row of pixels comes from, or `BLACK`: int64 (n, h) on the CPU.
            columns: likewise, (n, w).
        """
        device = self._pixels.device
        # One journey for everything; a device must not wait for three.
        sent = _to_send([torch.from_numpy(indices).unsqueeze(1), rows, columns], device).to(device, non_blocking=True)
        chosen, rows, columns = sent[:, 0], sent[:, 1 : 1 + rows.shape[1]], sent[:, 1 + rows.shape[1] :]
        # A row of −1 is the last one, and painted over.
        pixels = self._pixels[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        outside = (rows == BLACK)[:, :, None] | (columns == BLACK)[:, None, :]
        pixels = pixels.masked_fill_(outside[..., None], 0).permute(0, 3, 1, 2)
        return self._normalize(pixels), self._labels[chosen]


class Batches(Protocol):
    """A number of batches that can be gone through again and again."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[TrainingBatch]: ...


class OnDeviceLoader:
    """Batches of images on a device.

    Args:
        images: what is there.
        batches: which of them, and the seed of what is drawn for them.
        augmentations: torchvision's random crop and horizontal flip, any of them, in order.

    Raises:
        DataError: there is another augmentation.
    """

    def __init__(self, images: ImagesOnDevice, batches: Batches, augmentations: Sequence[v2.Transform] = ()) -> None:
        self._batches = batches
        self._images = images
        self._moves = [_move(augmentation) for augmentation in augmentations]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[LabeledBatch]:
        for batch in self._batches:
            n, (height, width) = len(batch.indices), self._images.size
            rows, columns = torch.arange(height).expand(n, -1), torch.arange(width).expand(n, -1)
            with seeded(batch.seed):
                for move in self._moves:
                    rows, columns = move(rows, columns)
            yield self._images.batch(batch.indices, rows, columns)


class OnDeviceTrainLoader(OnDeviceLoader):
    """Batches of the epoch that `sampler.set_epoch(epoch)` chooses, which Lightning does as for any loader."""

    def __init__(self, images: ImagesOnDevice, batches: EpochBatches, augmentations: Sequence[v2.Transform]) -> None:
        super().__init__(images, batches, augmentations)
        self.sampler = batches


def train_loader_on(
    device: torch.device,
    images: Images,
    indices: Indices,
    transform: TrainingTransform,
    *,
    batch_size: int,
    seed: int,
    rank: int = 0,
    replicas: int = 1,
) -> OnDeviceTrainLoader:
    """The batches of `edgemate.data.loaders.train_loader`, made on `device`; arguments as there. Raises DataError."""
    there = ImagesOnDevice(images, indices, transform.spec, device)
    places = EpochBatches(np.arange(len(indices), dtype=np.int64), batch_size, seed, rank, replicas)
    return OnDeviceTrainLoader(there, places, transform.augmentations)


def evaluation_loader_on(
    device: torch.device, images: Images, indices: Indices, spec: InputSpec, *, batch_size: int
) -> OnDeviceLoader:
    """The batches of `edgemate.data.loaders.evaluation_loader`, made on `device`. Raises DataError."""
    there = ImagesOnDevice(images, indices, spec, device)
    places = np.arange(len(indices), dtype=np.int64)
    starts = range(0, len(indices), batch_size)
    return OnDeviceLoader(there, [TrainingBatch(places[start : start + batch_size], 0) for start in starts])


def _to_send(parts: list[Tensor], device: torch.device) -> Tensor:
    """The parts (n, m) side by side, int64, where a GPU can fetch them while the host goes on.

    From memory that may be paged out, CUDA copies at most 64 KiB without making the host wait.
    """
    shape = (len(parts[0]), sum(part.shape[1] for part in parts))
    sent = torch.empty(shape, dtype=torch.int64, pin_memory=device.type == "cuda")
    return torch.cat(parts, 1, out=sent)


def free_bytes(device: torch.device) -> int | None:
    """Memory that is free on a GPU; None for a CPU, where the images lie in memory anyway."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None


Move = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From the rows (n, h) and columns (n, w) that pixels come from to those after an augmentation."""


def _move(augmentation: v2.Transform) -> Move:
    found = batchwise(augmentation)
    if isinstance(found, Crop):
        return _CropMove(found)
    if isinstance(found, Flip):
        return _FlipMove(found)
    raise DataError(
        f"training.data_on_device: {type(augmentation).__name__} cannot be drawn for images on the device, only "
        "random_crop and horizontal_flip; set it to false to have a loader draw it"
    )


class _CropMove:
    def __init__(self, crop: Crop) -> None:
        self._crop = crop

    def __call__(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        crop = self._crop
        top, left = crop.draw(len(rows), rows.shape[1], columns.shape[1])
        vertical, horizontal = crop.padding
        return (
            _shifted(rows, vertical, top, crop.size[0], crop.mode),
            _shifted(columns, horizontal, left, crop.size[1], crop.mode),
        )


def _shifted(places: Tensor, padding: tuple[int, int], start: Tensor, length: int, mode: str) -> Tensor:
    """Padded rows or columns (n, m), of each image `length` from its own start: (n, length)."""
    # Padding repeats the same places for every image: those of an image whose places are their own numbers.
    own = np.arange(places.shape[1])
    padded = np.pad(own, padding, constant_values=BLACK) if mode == "constant" else np.pad(own, padding, mode=mode)  # type: ignore[call-overload]
    window = torch.from_numpy(padded)[start[:, None] + torch.arange(length)]
    return places.gather(1, window.clamp(min=0)).masked_fill_(window == BLACK, BLACK)


class _FlipMove:
    def __init__(self, flip: Flip) -> None:
        self._flip = flip

    def __call__(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        return rows, torch.where(self._flip.draw(len(columns))[:, None], columns.flip(1), columns)
