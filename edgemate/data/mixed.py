"""Batches of two domains: labeled images of the source, followed by unlabeled images of the target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler

from edgemate.data.loaders import (
    EpochBatches,
    ImageLoader,
    LabeledBatch,
    TrainingBatch,
    TrainingSet,
    image_loader,
)
from edgemate.data.seeding import Purpose, permutation, seed_of
from edgemate.data.source import Images
from edgemate.data.transforms import TrainingTransform
from edgemate.errors import EdgemateError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Domain:
    """The images of one domain and the transform to the network's input."""

    images: Images
    transform: TrainingTransform


def mixed_loader(
    source: Domain, target: Domain, batches: EpochBatches, *, per_batch: int | None, workers: int = 0
) -> ImageLoader:
    """Batches of the source, each followed by images of the target, whose labels are −1.

    An epoch is one epoch of the source. The target's images are in random order and are shuffled again once all have
    been used; `(seed, epoch)` of `batches` determines order and augmentation.

    Args:
        source: the labeled images.
        target: the unlabeled images, all of which are used.
        batches: of the source.
        per_batch: images of the target in a batch; as many as of the source if None.
        workers: processes that prepare batches; 0 prepares them in the calling process.
    """
    if workers:
        target.images.array  # noqa: B018 - corrupted images are computed on first use: once here, not in every worker
    mixed = MixedBatches(batches, len(target.images), per_batch)
    return image_loader(_MixedSet(source, target), mixed, workers)


@dataclass(frozen=True, eq=False)
class MixedBatch:
    """A batch of the source and the target's batch that follows it."""

    source: TrainingBatch
    target: TrainingBatch


class MixedBatches(Sampler[MixedBatch]):
    """The batches of one epoch, a pure function of (seed, epoch).

    Args:
        batches: of the source.
        n: images of the target.
        per_batch: see `mixed_loader`.
    """

    def __init__(self, batches: EpochBatches, n: int, per_batch: int | None = None) -> None:
        self._batches, self._n, self._per_batch = batches, n, per_batch

    def images_in(self, step: int) -> int:
        """Labeled images of a batch over all processes; batches are counted from 0."""
        return self._batches.images_in(step)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self._batches.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[MixedBatch]:
        batches = self._batches
        seed, epoch, sharding = batches.seed, batches.epoch, batches.sharding
        # Every batch but an epoch's last is full, so a batch's position follows from its number.
        full = self._per_batch or batches.batch_size
        laps = _Laps(self._n, seed, epoch)
        for number, source in enumerate(batches):
            step, turn = divmod(number, sharding.accumulate)
            count = self._per_batch or batches.images_in(step)
            target = laps.take(step * full, count)
            target_seed = seed_of(Purpose.UNLABELED_AUGMENTATION, seed, epoch, step)
            place = None if source.place is None else sharding.micro_batches(count)[turn]
            taken = target if place is None else target[place.slice]
            yield MixedBatch(source, TrainingBatch(taken, target_seed, place))


class _Laps:
    """An endless sequence of image indices: all of them in random order, then all in another order, and so on."""

    def __init__(self, n: int, seed: int, epoch: int) -> None:
        self._n, self._seed, self._epoch = n, seed, epoch
        self._lap = -1
        self._order = np.empty(0, np.int64)

    def take(self, start: int, count: int) -> Indices:
        """The indices at positions `start` to `start + count − 1`, int64 (count,)."""
        taken = []
        while count > 0:
            lap, position = divmod(start, self._n)
            if lap != self._lap:
                self._lap = lap
                self._order = permutation(self._n, Purpose.UNLABELED_ORDER, self._seed, self._epoch, lap)
            piece = self._order[position : position + count]
            taken.append(piece)
            start, count = start + len(piece), count - len(piece)
        return np.concatenate(taken)


class _MixedSet(Dataset[LabeledBatch]):
    def __init__(self, source: Domain, target: Domain) -> None:
        self._source = TrainingSet(source.images, source.transform)
        self._target = TrainingSet(target.images, target.transform)

    def __getitem__(self, batch: MixedBatch) -> LabeledBatch | EdgemateError:  # type: ignore[override]
        source, target = self._source[batch.source], self._target[batch.target]
        if isinstance(source, EdgemateError):
            return source
        if isinstance(target, EdgemateError):
            return target
        return torch.cat([source[0], target[0]]), torch.cat([source[1], target[1]])
