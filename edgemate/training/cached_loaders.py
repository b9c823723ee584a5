"""Batches of cached features at the cuts, in place of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgemate.data.loaders import EpochBatches
from edgemate.distributed.sharding import ONE_PROCESS, Sharding

Arrays = Sequence[npt.NDArray[np.floating]]
"""Per cut the features of all images of a split, (N, ...)."""
CutFeatures = tuple[Tensor, ...]
"""Per cut the features of a batch, (n, ...), as they are stored."""
CachedBatch = tuple[CutFeatures, Tensor]
"""Features at every cut, and labels int64 (n,)."""


class CachedLoader:
    """Batches of the calibration split, in order.

    Args:
        arrays: its features.
        labels: int64 (N,).
        batch_size: images per batch.
        sharding: what this process takes of the split.
    """

    def __init__(
        self, arrays: Arrays, labels: npt.NDArray[np.int64], batch_size: int, sharding: Sharding = ONE_PROCESS
    ) -> None:
        self._arrays, self._labels, self._batch_size = arrays, labels, batch_size
        self._place = sharding.of_split(len(labels))

    def __len__(self) -> int:
        return -(-(self._place.stop - self._place.start) // self._batch_size)

    def __iter__(self) -> Iterator[CachedBatch]:
        for start in range(self._place.start, self._place.stop, self._batch_size):
            rows = np.arange(start, min(start + self._batch_size, self._place.stop))
            yield gather(self._arrays, rows), torch.from_numpy(self._labels[rows])


class CachedTrainLoader:
    """Batches of the epoch that `sampler.set_epoch(epoch)` sets, in the order of an uncached epoch.

    Args:
        views: the features of every augmented view. Epoch e takes view e modulo their number.
        labels: int64 (N,).
        batch_size: images per batch, over all processes.
        seed: of the order.
        balanced: draw all classes equally often.
        sharding: what this process takes of every batch.
    """

    def __init__(
        self,
        views: Sequence[Arrays],
        labels: npt.NDArray[np.int64],
        batch_size: int,
        seed: int,
        *,
        balanced: bool = False,
        sharding: Sharding = ONE_PROCESS,
    ) -> None:
        places = np.arange(len(labels), dtype=np.int64)
        self.sampler = EpochBatches(places, batch_size, seed, sharding, balance=labels if balanced else None)
        self._views, self._labels = views, labels

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[CachedBatch]:
        arrays = self._views[self.sampler.epoch % len(self._views)]
        for batch in self.sampler:
            yield gather(arrays, batch.indices), torch.from_numpy(self._labels[batch.indices])


def gather(arrays: Arrays, rows: npt.NDArray[np.int64]) -> CutFeatures:
    """The rows (n,) of every array, copied into memory."""
    return tuple(torch.from_numpy(array[rows]) for array in arrays)


def network_features(at_cuts: CutFeatures, channels_last: bool = False) -> CutFeatures:
    """The features as float32; maps as NHWC in memory if `channels_last`."""
    return tuple(
        tensor.to(torch.float32, memory_format=torch.channels_last)
        if channels_last and tensor.dim() == 4
        else tensor.float()
        for tensor in at_cuts
    )


def images_in(given: Tensor | CutFeatures) -> Tensor:
    """The images of a batch; of cached features an empty tensor (n, 0)."""
    return given if isinstance(given, Tensor) else given[0].new_empty((len(given[0]), 0))
