"""Images kept on the training device as uint8, and cropped, flipped, changed by RandAugment and normalized there.

Order and augmentation are drawn on the CPU from the same seeds as in `edgemate.data.loaders`, so the batches are
bit for bit the same, except for the rounding of RandAugment's operations on a GPU. Per image, only its index and the
source rows and columns of its pixels are sent to the device.

Connected processes divide the images: each keeps consecutive ones, and those of a batch are fetched from their owners.
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
from edgemate.data.held import fitted_array
from edgemate.data.loaders import EpochBatches, LabeledBatch, TrainingBatch
from edgemate.data.placing import placed
from edgemate.data.rand_augment import RandAugment
from edgemate.data.source import Images
from edgemate.data.transforms import Normalize, TrainingTransform, seeded
from edgemate.distributed.divided_rows import fetch_rows
from edgemate.distributed.reduce import ranks
from edgemate.distributed.sharding import ONE_PROCESS, Sharding
from edgemate.errors import DataError
from edgemate.progress import SILENT, Progress

Indices = npt.NDArray[np.int64]
# Images may take this fraction of the free memory: the network and its activations need the rest.
MAX_FRACTION = 0.5
BLACK = -1
"""Index of a row or column outside the image."""


class ImagesOnDevice:
    """The images at `indices` and their labels, on a device.

    Args:
        images: of the dataset; those in files or of another size are decoded, resized and cropped first.
        indices: int64 (N,); batches index into these.
        spec: input specification of the network.
        device: the training device.
        progress: receives the number of images decoded.
        sharding: over which the pixels are divided, if its processes are connected. Each has all labels.

    Raises:
        DataError: they do not fit on the device, or a file cannot be read.
    """

    def __init__(
        self,
        images: Images,
        indices: Indices,
        spec: InputSpec,
        device: torch.device,
        progress: Progress = SILENT,
        sharding: Sharding = ONE_PROCESS,
    ) -> None:
        self._total, self._rank = len(indices), sharding.rank
        self._divided = ranks() == sharding.ranks > 1
        held = indices[sharding.of_split(len(indices)).slice] if self._divided else indices
        needed, free = len(held) * spec.channels * spec.height * spec.width, free_bytes(device)
        if free is not None and needed > MAX_FRACTION * free:
            raise DataError(
                f"data.cache: device: {len(held)} images take {needed / 2**30:.1f} GiB, more than half of "
                f"the {free / 2**30:.1f} GiB that are free on {device}; set it to ram or none"
            )
        array = images.array
        ready = array is not None and spec.resize is None
        pixels = array[held] if array is not None and ready else fitted_array(images, held, spec, progress)
        self.size = (spec.height, spec.width)
        self._pixels = torch.from_numpy(pixels).to(device)
        self._labels = torch.from_numpy(images.labels[indices]).to(device)
        self._normalize = Normalize(spec, device)

    def batch(
        self, indices: Indices, rows: Tensor, columns: Tensor, everyone: Sequence[Indices] = ()
    ) -> tuple[Tensor, Tensor]:
        """Images uint8 (n, C, h, w) in channels_last memory format and labels (n,), on the device.

        Where processes divide the images, they all call this at the same time.

        Args:
            indices: which images, (n,).
            rows: source row of every row of the result, or `BLACK`: int64 (n, h) on the CPU.
            columns: source column of every column, or `BLACK`: int64 (n, w) on the CPU.
            everyone: which images each process takes, by rank; needed where they divide them.
        """
        if self._divided:
            fetched = fetch_rows(self._pixels, self._total, self._rank, everyone)
            pixels, _ = _gather(fetched, torch.arange(len(indices)), rows, columns)
            chosen = torch.from_numpy(indices).to(self._labels.device)
        else:
            pixels, chosen = _gather(self._pixels, torch.from_numpy(indices), rows, columns)
        return pixels.permute(0, 3, 1, 2), self._labels[chosen]

    def normalized(self, pixels: Tensor) -> Tensor:
        """The network's input, float32 (n, C, h, w), of uint8 images on the device."""
        return self._normalize(pixels)


class Batches(Protocol):
    """A sized, repeatable iterable of batches."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[TrainingBatch]: ...


def _gather(pixels: Tensor, indices: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 (N, H, W, C) at indices (n,), rows (n, h) and columns (n, w): (n, h, w, C), and the indices there."""
    device = pixels.device
    # One transfer for everything; three would make the device wait.
    sent = _to_send([indices.unsqueeze(1), rows, columns], device).to(device, non_blocking=True)
    chosen, rows, columns = sent[:, 0], sent[:, 1 : 1 + rows.shape[1]], sent[:, 1 + rows.shape[1] :]
    # Row −1 reads the last row, which is then masked.
    result = pixels[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
    outside = (rows == BLACK)[:, :, None] | (columns == BLACK)[:, None, :]
    return result.masked_fill_(outside[..., None], 0), chosen


class OnDeviceLoader:
    """Batches of images on a device.

    Args:
        images: on the device.
        batches: indices into the images, and the seed of their augmentation.
        augmentations: torchvision's random crop, horizontal flip and RandAugment only, in order.

    Raises:
        DataError: an augmentation is not supported on the device.
    """

    def __init__(self, images: ImagesOnDevice, batches: Batches, augmentations: Sequence[v2.Transform] = ()) -> None:
        self._batches = batches
        self._images = images
        # Crops and flips in a row are one gathering of pixels; each RandAugment ends such a row.
        self._first: list[Move] = []
        self._changes: list[tuple[RandAugment, list[Move]]] = []
        for step in map(_step, augmentations):
            if isinstance(step, RandAugment):
                self._changes.append((step, []))
            else:
                (self._changes[-1][1] if self._changes else self._first).append(step)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[LabeledBatch]:
        for batch in self._batches:
            with seeded(batch.seed), placed(batch.place):
                pixels, labels = self._augmented(batch)
            yield self._images.normalized(pixels), labels

    def _augmented(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """uint8 (n, C, h, w) in channels_last memory format and labels (n,)."""
        n = len(batch.indices)
        places = _places(self._first, n, *self._images.size)
        pixels, labels = self._images.batch(batch.indices, *places, batch.everyone)
        for change, moves in self._changes:
            pixels = change(pixels)
            if moves:
                places = _places(moves, n, *pixels.shape[2:])
                pixels = _gather(pixels.permute(0, 2, 3, 1), torch.arange(n), *places)[0].permute(0, 3, 1, 2)
        return pixels.contiguous(memory_format=torch.channels_last), labels


def _places(moves: Sequence[Move], n: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Source rows (n, h) and columns (n, w) after some moves of n images of height × width."""
    rows, columns = torch.arange(height).expand(n, -1), torch.arange(width).expand(n, -1)
    for move in moves:
        rows, columns = move(rows, columns)
    return rows, columns


class OnDeviceTrainLoader(OnDeviceLoader):
    """Batches of the epoch that `sampler.set_epoch(epoch)` sets, which Lightning calls as for any loader."""

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
    sharding: Sharding = ONE_PROCESS,
    balanced: bool = False,
    repeats: int = 1,
    progress: Progress = SILENT,
) -> OnDeviceTrainLoader:
    """The batches of `edgemate.data.loaders.train_loader`, made on `device`; same arguments.

    Raises:
        DataError: the images do not fit there, or an augmentation cannot be made there.
    """
    if not transform.one_size:
        raise DataError(
            "data.cache: device: random_resized_crop, and random_crop of images that were resized by their shorter "
            "side, take images of different sizes; set it to ram or none"
        )
    there = ImagesOnDevice(images, indices, transform.spec, device, progress, sharding)
    labels = images.labels[indices] if balanced else None
    numbers = np.arange(len(indices), dtype=np.int64)
    places = EpochBatches(numbers, batch_size, seed, sharding, balance=labels, repeats=repeats)
    return OnDeviceTrainLoader(there, places, transform.augmentations)


def evaluation_loader_on(
    device: torch.device,
    images: Images,
    indices: Indices,
    spec: InputSpec,
    *,
    batch_size: int,
    progress: Progress = SILENT,
) -> OnDeviceLoader:
    """The batches of `edgemate.data.loaders.evaluation_loader`, made on `device`. Raises DataError."""
    there = ImagesOnDevice(images, indices, spec, device, progress)
    places = np.arange(len(indices), dtype=np.int64)
    starts = range(0, len(indices), batch_size)
    return OnDeviceLoader(there, [TrainingBatch(places[start : start + batch_size], 0) for start in starts])


def _to_send(parts: list[Tensor], device: torch.device) -> Tensor:
    """The parts (n, m) concatenated along m, int64, in pinned memory for a GPU.

    From pageable memory, CUDA copies at most 64 KiB without blocking the host.
    """
    shape = (len(parts[0]), sum(part.shape[1] for part in parts))
    sent = torch.empty(shape, dtype=torch.int64, pin_memory=device.type == "cuda")
    return torch.cat(parts, 1, out=sent)


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a GPU in bytes; None for a CPU, where the images are in memory anyway."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None


Move = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Maps the source rows (n, h) and columns (n, w) of an image to those after an augmentation."""


def works_on_device(transform: TrainingTransform) -> bool:
    """Whether the images of a training transform can be augmented on a device."""
    kinds = (Crop, Flip, RandAugment)
    return transform.one_size and all(isinstance(batchwise(one), kinds) for one in transform.augmentations)


def _step(augmentation: v2.Transform) -> Move | RandAugment:
    found = batchwise(augmentation)
    if isinstance(found, Crop):
        return _CropMove(found)
    if isinstance(found, Flip):
        return _FlipMove(found)
    if isinstance(found, RandAugment):
        return found
    raise DataError(
        f"data.cache: device: {type(augmentation).__name__} is not available on the device, only "
        "random_crop, horizontal_flip and rand_augment; set it to ram or none"
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
    """Rows or columns (n, m), padded and cropped to `length` from each image's start: (n, length)."""
    # Padding is the same for every image: that of the indices 0 to m − 1.
    own = np.arange(places.shape[1])
    padded = np.pad(own, padding, constant_values=BLACK) if mode == "constant" else np.pad(own, padding, mode=mode)  # type: ignore[call-overload]
    window = torch.from_numpy(padded)[start[:, None] + torch.arange(length)]
    return places.gather(1, window.clamp(min=0)).masked_fill_(window == BLACK, BLACK)


class _FlipMove:
    def __init__(self, flip: Flip) -> None:
        self._flip = flip

    def __call__(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        return rows, torch.where(self._flip.draw(len(columns))[:, None], columns.flip(1), columns)
