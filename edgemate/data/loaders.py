"""Data loaders: shuffled and augmented by epoch for training, in fixed order for evaluation.

A sampler's item is a whole batch, so that images in memory are gathered and augmented together. It carries the seed of
its augmentation, so that a batch does not depend on the process that prepares it or on earlier batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from edgemate.data.sampling import balanced_order
from edgemate.data.seeding import Purpose, permutation, seed_of
from edgemate.data.source import Images
from edgemate.data.transforms import EvaluationTransform, TrainingTransform
from edgemate.data.workers import check_sockets, share_batch, translate_worker_errors
from edgemate.distributed.sharding import ONE_PROCESS, Place, Sharding
from edgemate.errors import EdgemateError

Indices = npt.NDArray[np.int64]
LabeledBatch = tuple[Tensor, Tensor]
"""Images float32 (N, C, H, W), normalized, and labels int64 (N,), −1 for unlabeled images."""


def train_loader(
    images: Images,
    indices: Indices,
    transform: TrainingTransform,
    *,
    batch_size: int,
    seed: int,
    workers: int = 0,
    sharding: Sharding = ONE_PROCESS,
    balanced: bool = False,
    repeats: int = 1,
) -> ImageLoader:
    """Batches of the images at `indices`; order and augmentation are a function of (seed, epoch) only.

    The epoch is 0 until `loader.sampler.set_epoch(epoch)` is called (Lightning does it). A last batch of one image per
    micro-batch is dropped, since batch normalization cannot train on it.

    Args:
        images: the dataset's training images.
        indices: the training split's, int64 (N,).
        transform: augmentation and normalization.
        batch_size: images per batch, over all processes.
        seed: not negative.
        workers: processes that prepare batches; 0 prepares them in the calling process.
        sharding: what this process takes of every batch.
        balanced: see `EpochBatches`.
        repeats: see `EpochBatches`.
    """
    labels = images.labels[indices] if balanced else None
    batches = EpochBatches(indices, batch_size, seed, sharding, balance=labels, repeats=repeats)
    return image_loader(TrainingSet(images, transform), batches, workers)


def evaluation_loader(
    images: Images, indices: Indices, transform: EvaluationTransform, *, batch_size: int, workers: int = 0
) -> ImageLoader:
    """Batches of the images at `indices` (N,), all of them, in that order."""
    batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    return image_loader(_EvaluationSet(images, transform), batches, workers)


class ImageLoader(DataLoader[LabeledBatch]):
    """A torch DataLoader of labeled batches that raises a worker's EdgemateError unchanged.

    Raised in the worker, it would have that process's traceback in its message. Iteration raises DataError if workers
    cannot pass batches on or are killed.
    """

    def check_worker_number_rationality(self) -> None:
        """Nothing: torch warns of more workers than cores with each loader, and the header of a training has both."""

    def __iter__(self) -> Iterator[LabeledBatch]:  # type: ignore[override]
        check_sockets(self.num_workers)
        with translate_worker_errors(self.num_workers):
            for batch in super().__iter__():
                if isinstance(batch, EdgemateError):
                    break
                yield batch
            else:
                return
        # Workers still alive when the error's traceback is garbage-collected take five seconds each to end.
        self._iterator = None
        raise batch


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """Images of a batch, or of one of its micro-batches.

    Attributes:
        indices: of the images, int64 (N,).
        seed: of the augmentation of the whole batch.
        place: of the images in the batch; None: they are all of it.
        everyone: what each process takes at the same time, by rank; empty where one process takes the batch.
    """

    indices: Indices
    seed: int
    place: Place | None = None
    everyone: tuple[Indices, ...] = ()


class EpochBatches(Sampler[TrainingBatch]):
    """The batches of one epoch, a pure function of (seed, epoch). Arguments as for `train_loader`.

    With `balance`, the labels of the images at `indices`, int64 (N,), the N images of an epoch are of all classes in
    equal parts; see `balanced_order`. With `repeats`, an epoch has as many batches, of fewer images: each is in its
    batch that many times in a row, and the batch size must be a multiple of it (arXiv 1901.09335, 1902.05509).

    With a `sharding`, batches and seeds are those of one process, and of every batch come this process's micro-batches.
    """

    def __init__(
        self,
        indices: Indices,
        batch_size: int,
        seed: int,
        sharding: Sharding = ONE_PROCESS,
        *,
        balance: Indices | None = None,
        repeats: int = 1,
    ) -> None:
        self._indices = indices
        self._repeats = repeats
        self._balance = balance
        self.batch_size = batch_size
        self.seed = seed
        self.sharding = sharding
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    @property
    def steps(self) -> int:
        """Batches of an epoch, the same in every process."""
        full, rest = divmod(len(self._indices), self.batch_size)
        return full + (rest >= 2 * self.sharding.parts or (rest == 1 and full == 0 and self.sharding.parts == 1))

    def images_in(self, step: int) -> int:
        """Images of a batch over all processes, each as often as it is repeated; batches are counted from 0."""
        whole = -(-len(self._indices) // self._repeats) * self._repeats
        return min(self.batch_size, whole - step * self.batch_size)

    def __len__(self) -> int:
        return self.steps * self.sharding.accumulate

    def __iter__(self) -> Iterator[TrainingBatch]:
        epoch = self.epoch
        order = self._indices[self._order(epoch)]
        for step in range(self.steps):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            seed = seed_of(Purpose.AUGMENTATION, self.seed, epoch, step)
            if self.sharding.parts == 1:
                yield TrainingBatch(batch, seed)
                continue
            for number, place in enumerate(self.sharding.micro_batches(len(batch))):
                everyone = tuple(batch[other.slice] for other in self.sharding.turn(len(batch), number))
                yield TrainingBatch(batch[place.slice], seed, place, everyone)

    def _order(self, epoch: int) -> Indices:
        n = len(self._indices)
        if self._balance is None:
            order = permutation(n, Purpose.ORDER, self.seed, epoch)
        else:
            order = balanced_order(self._balance, self.seed, epoch)
        return order if self._repeats == 1 else np.repeat(order[: -(-n // self._repeats)], self._repeats)


class TrainingSet(Dataset[LabeledBatch]):
    """Augmented images with their labels; an item is a `TrainingBatch`."""

    def __init__(self, images: Images, transform: TrainingTransform) -> None:
        self._images = images
        self._transform = transform

    def __getitem__(self, batch: TrainingBatch) -> LabeledBatch | EdgemateError:  # type: ignore[override]
        try:
            images = self._transform(self._images, batch.indices, batch.seed, batch.place)
        except EdgemateError as error:
            return error
        return images, torch.from_numpy(self._images.labels[batch.indices])


class _EvaluationSet(Dataset[LabeledBatch]):
    def __init__(self, images: Images, transform: EvaluationTransform) -> None:
        self._images = images
        self._transform = transform

    def __getitem__(self, indices: Indices) -> LabeledBatch | EdgemateError:  # type: ignore[override]
        try:
            images = self._transform(self._images, indices)
        except EdgemateError as error:
            return error
        return images, torch.from_numpy(self._images.labels[indices])


def image_loader(images: Dataset[LabeledBatch], batches: Any, workers: int) -> ImageLoader:
    """A loader of `images[batch]` for every batch of the sampler `batches`."""
    return ImageLoader(
        images,
        sampler=batches,
        batch_size=None,
        collate_fn=share_batch,  # type: ignore[arg-type]
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Otherwise every iteration would draw from the global generator, and dropout would depend on their number.
        generator=torch.Generator(),
    )
