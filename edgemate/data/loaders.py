"""Loaders of batches: shuffled and augmented by epoch for training, in fixed order for evaluation.

A sampler's item is a whole batch, so that pictures in memory are gathered and augmented together. It carries the seed
of its augmentation, so that a batch is the same whichever process prepares it and whatever came before.
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

from edgemate.data.seeding import Purpose, permutation, seed_of
from edgemate.data.source import Pictures
from edgemate.data.transforms import EvaluationTransform, TrainingTransform
from edgemate.data.workers import check_sockets, shared, telling_of_ended_workers
from edgemate.errors import EdgemateError

Indices = npt.NDArray[np.int64]
LabelledBatch = tuple[Tensor, Tensor]
"""Images float32 (N, C, H, W), normalised, and labels int64 (N,), −1 where a picture has none."""


def train_loader(
    pictures: Pictures,
    indices: Indices,
    transform: TrainingTransform,
    *,
    batch_size: int,
    seed: int,
    workers: int = 0,
    rank: int = 0,
    replicas: int = 1,
) -> PictureLoader:
    """Batches of the pictures at `indices`, in an order and with an augmentation that only (seed, epoch) decide.

    The epoch is 0 until `loader.sampler.set_epoch(epoch)` is called (Lightning does it). A last batch of one picture is
    left out, since batch normalisation cannot train on it.

    Args:
        pictures: the data set's training pictures.
        indices: the training split's, int64 (N,).
        transform: augmentation and normalisation.
        batch_size: pictures per batch.
        seed: not negative.
        workers: processes that prepare batches; 0 prepares them in line.
        rank: of this process, where several train together: each takes every `replicas`-th batch.
        replicas: how many do.
    """
    batches = EpochBatches(indices, batch_size, seed, rank, replicas)
    return picture_loader(TrainingSet(pictures, transform), batches, workers)


def evaluation_loader(
    pictures: Pictures, indices: Indices, transform: EvaluationTransform, *, batch_size: int, workers: int = 0
) -> PictureLoader:
    """Batches of the pictures at `indices` (N,), all of them, in that order."""
    batches = [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]
    return picture_loader(_EvaluationSet(pictures, transform), batches, workers)


class PictureLoader(DataLoader[LabelledBatch]):
    """A torch DataLoader of labelled batches that raises a worker's EdgemateError as it was.

    Raised in the worker, it would come out with that process's traceback in its message. Raises DataError where workers
    cannot pass batches on or are ended.
    """

    def __iter__(self) -> Iterator[LabelledBatch]:  # type: ignore[override]
        check_sockets(self.num_workers)
        with telling_of_ended_workers(self.num_workers):
            for batch in super().__iter__():
                if isinstance(batch, EdgemateError):
                    break
                yield batch
            else:
                return
        # Workers that are still there when the error's traceback is collected as garbage take five seconds each to end.
        self._iterator = None
        raise batch


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """Which pictures (N,), and the seed of what is drawn for them."""

    indices: Indices
    seed: int


class EpochBatches(Sampler[TrainingBatch]):
    """The batches of one epoch, a pure function of (seed, epoch). Arguments as for `train_loader`."""

    def __init__(self, indices: Indices, batch_size: int, seed: int, rank: int = 0, replicas: int = 1) -> None:
        self._indices = indices
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.replicas = replicas
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self._indices), self.batch_size)
        batches = full + (rest > 1 or (rest == 1 and full == 0))
        return batches // self.replicas

    def __iter__(self) -> Iterator[TrainingBatch]:
        epoch = self.epoch
        order = self._indices[permutation(len(self._indices), Purpose.ORDER, self.seed, epoch)]
        for step in range(len(self)):
            batch = step * self.replicas + self.rank
            yield TrainingBatch(
                order[batch * self.batch_size : (batch + 1) * self.batch_size],
                seed_of(Purpose.AUGMENTATION, self.seed, epoch, batch),
            )


class TrainingSet(Dataset[LabelledBatch]):
    """Augmented pictures with their labels; an item is a `TrainingBatch`."""

    def __init__(self, pictures: Pictures, transform: TrainingTransform) -> None:
        self._pictures = pictures
        self._transform = transform

    def __getitem__(self, batch: TrainingBatch) -> LabelledBatch | EdgemateError:  # type: ignore[override]
        try:
            images = self._transform(self._pictures, batch.indices, batch.seed)
        except EdgemateError as error:
            return error
        return images, torch.from_numpy(self._pictures.labels[batch.indices])


class _EvaluationSet(Dataset[LabelledBatch]):
    def __init__(self, pictures: Pictures, transform: EvaluationTransform) -> None:
        self._pictures = pictures
        self._transform = transform

    def __getitem__(self, indices: Indices) -> LabelledBatch | EdgemateError:  # type: ignore[override]
        try:
            images = self._transform(self._pictures, indices)
        except EdgemateError as error:
            return error
        return images, torch.from_numpy(self._pictures.labels[indices])


def picture_loader(pictures: Dataset[LabelledBatch], batches: Any, workers: int) -> PictureLoader:
    """A loader of the batches that the data set gives for each of `batches`."""
    return PictureLoader(
        pictures,
        sampler=batches,
        batch_size=None,
        collate_fn=shared,  # type: ignore[arg-type]
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        # Else every iteration would draw from the global generator, and dropout would depend on how often one began.
        generator=torch.Generator(),
    )
