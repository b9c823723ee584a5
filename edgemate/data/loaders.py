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
    rank: int = 0,
    replicas: int = 1,
    balanced: bool = False,
    repeats: int = 1,
) -> ImageLoader:
    """Batches of the images at `indices`; order and augmentation are a function of (seed, epoch) only.

    The epoch is 0 until `loader.sampler.set_epoch(epoch)` is called (Lightning does it). A last batch of one image is
    dropped, since batch normalization cannot train on it.

    Args:
        images: the dataset's training images.
        indices: the training split's, int64 (N,).
        transform: augmentation and normalization.
        batch_size: images per batch.
        seed: not negative.
        workers: processes that prepare batches; 0 prepares them in the calling process.
        rank: of this process in distributed training: it gets every `replicas`-th batch.
        replicas: number of processes.
        balanced: see `EpochBatches`.
        repeats: see `EpochBatches`.
    """
    labels = images.labels[indices] if balanced else None
    batches = EpochBatches(indices, batch_size, seed, rank, replicas, balance=labels, repeats=repeats)
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
    """Indices of a batch's images, int64 (N,), and the seed of its augmentation."""

    indices: Indices
    seed: int


class EpochBatches(Sampler[TrainingBatch]):
    """The batches of one epoch, a pure function of (seed, epoch). Arguments as for `train_loader`.

    With `balance`, the labels of the images at `indices`, int64 (N,), the N images of an epoch are of all classes in
    equal parts; see `balanced_order`. With `repeats`, an epoch has as many batches, of fewer images: each is in its
    batch that many times in a row, and the batch size must be a multiple of it (arXiv 1901.09335, 1902.05509).
    """

    def __init__(
        self,
        indices: Indices,
        batch_size: int,
        seed: int,
        rank: int = 0,
        replicas: int = 1,
        *,
        balance: Indices | None = None,
        repeats: int = 1,
    ) -> None:
        self._indices = indices
        self._repeats = repeats
        self._balance = balance
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.replicas = replicas
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self._indices), self.batch_size)
        batches = full + (rest > 1 or (rest == 1 and full == 0))
        return batches // self.replicas

    def __iter__(self) -> Iterator[TrainingBatch]:
        epoch = self.epoch
        order = self._indices[self._order(epoch)]
        for step in range(len(self)):
            batch = step * self.replicas + self.rank
            yield TrainingBatch(
                order[batch * self.batch_size : (batch + 1) * self.batch_size],
                seed_of(Purpose.AUGMENTATION, self.seed, epoch, batch),
            )

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
            images = self._transform(self._images, batch.indices, batch.seed)
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
