"""Features of a frozen backbone: computed once, stored, and read in every epoch."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgemate.config import Recipe
from edgemate.data import PreparedData
from edgemate.data.loaders import EpochBatches, Indices, TrainingSet, image_loader
from edgemate.distributed.sharding import ONE_PROCESS, Sharding
from edgemate.errors import TrainingError
from edgemate.models import MultiExitModel
from edgemate.progress import Progress
from edgemate.training.cache_key import cache_key
from edgemate.training.cached_loaders import CachedLoader, CachedTrainLoader
from edgemate.training.evaluation_features import EvaluationFeatures
from edgemate.training.feature_cache import CALIBRATION, Array, FeatureCache, gigabytes, require_space, view_name
from edgemate.wording import counted

_LARGEST_FLOAT16 = float(torch.finfo(torch.float16).max)


class _RangeError(Exception):
    """Features at a cut leave float16's range."""

    def __init__(self, cut: int) -> None:
        super().__init__(cut)
        self.cut = cut


@dataclass
class Caching:
    """The cache of a training.

    View v of an image is what a training without a cache would see in epoch v. Features are computed in float32,
    whatever the precision of the training.

    Args:
        recipe: with `training.freeze: backbone`.
        data: the dataset.
        model: its backbone frozen, with the weights that it begins with.
        own_folder: of the run, for a cache that ends with the training.
        ranks: number of processes that train.

    Raises:
        TrainingError: the disk has no space for the cache, or a head reads several tensors at its cut.
    """

    recipe: Recipe
    data: PreparedData
    model: MultiExitModel
    own_folder: Path
    ranks: int = 1

    def __post_init__(self) -> None:
        settings = self.recipe.training
        self.views = min(settings.cache_augmentations, self.recipe.optimization.epochs)
        key = cache_key(self.recipe, self.data, self.model)[:16]
        self._folder = self.own_folder if settings.cache_dir is None else Path(settings.cache_dir).expanduser()
        self.cache = FeatureCache(self._folder / key, _shapes(self.model, self.data))
        self.reused = not self._missing()
        self.cache.path.mkdir(parents=True, exist_ok=True)
        require_space(self.cache.path, self._bytes(self._missing()))

    @property
    def seconds(self) -> float:
        """How long it took to compute the parts that this training reads, whichever training did."""
        return sum(self.cache.seconds[part] for part in self._parts())

    def describe(self) -> str:
        """What is cached, how large it is and where, in words."""
        sizes = f"{counted(self.views, 'view')} of the training split and one of the calibration split"
        size, missing = self._bytes(self._parts()), self._bytes(self._missing())
        left = "computed first" if missing == size else f"{gigabytes(missing)} of it computed first"
        state = left if missing else "computed already"
        evaluation = self.evaluation()
        more = "" if evaluation is None else f"; {evaluation.describe()}"
        return f"cached, {sizes}: {gigabytes(size)} in {self.cache.path}, {state}{more}"

    def to_json(self) -> dict[str, Any]:
        """For `metrics.json`."""
        return {
            "seconds": self.seconds,
            "reused": self.reused,
            "views": self.views,
            "bytes": self._bytes(self._parts()),
            "dtypes": self.cache.dtypes,
        }

    def compute(self, device: torch.device, channels_last: bool, progress: Progress) -> None:
        """Compute and store every part that is missing. Interrupted, it resumes with the first part that is not whole.

        Raises:
            TrainingError: features are not finite, or the disk is full.
            DataError: an image cannot be read.
        """
        with self.cache.locked(lambda: progress.step("waiting for another training that computes these features")):
            self.cache.reload()
            while self._missing():
                try:
                    for part in self._missing():
                        self._fill(part, device, channels_last, progress)
                except _RangeError as error:
                    dtypes = self.cache.dtypes
                    dtypes[error.cut] = "float32"
                    self.cache.reset(dtypes)
                    require_space(self.cache.path, self._bytes(self._parts()))

    def loaders(self, sharding: Sharding = ONE_PROCESS) -> tuple[CachedTrainLoader, CachedLoader]:
        """Batches of the training and of the calibration split, once `compute` has run, in whichever process."""
        self.cache.reload()
        labels, splits, size = self.data.source.train.labels, self.data.splits, self.data.batch_size
        views = [self.cache.arrays(view_name(view)) for view in range(self.views)]
        return (
            CachedTrainLoader(
                views, labels[splits.train], size, self.data.seed, balanced=self.data.balanced, sharding=sharding
            ),
            CachedLoader(
                self.cache.arrays(CALIBRATION), labels[splits.calibration], max(1, size // sharding.parts), sharding
            ),
        )

    def evaluation(self) -> EvaluationFeatures | None:
        """The evaluated splits' features, where other runs can use them: with a folder that the recipe names.

        None also with several processes, which evaluate in turns.
        """
        if self.recipe.training.cache_dir is None or self.ranks > 1:
            return None
        return EvaluationFeatures(self.recipe, self.data, self.model, self.cache.shapes)

    def close(self) -> None:
        """Delete the cache, unless the recipe names its folder."""
        if self.recipe.training.cache_dir is None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _parts(self) -> list[str]:
        return [CALIBRATION, *(view_name(view) for view in range(self.views))]

    def _missing(self) -> list[str]:
        return [part for part in self._parts() if part not in self.cache.seconds]

    def _bytes(self, parts: Sequence[str]) -> int:
        return sum(self._images(part) for part in parts) * self.cache.image_bytes()

    def _images(self, part: str) -> int:
        splits = self.data.splits
        return len(splits.calibration if part == CALIBRATION else splits.train)

    def _fill(self, part: str, device: torch.device, channels_last: bool, progress: Progress) -> None:
        title = "calibration split" if part == CALIBRATION else f"view {int(part[5:]) + 1} of {self.views}"
        progress.step(f"caching features, {title}, image")
        start, done, total = time.perf_counter(), 0, self._images(part)
        arrays = self.cache.create(part, total)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        model = self.model.to(device)
        with torch.inference_mode():
            for rows, (images, _) in self._batches(part):
                images = images.to(device, memory_format=layout, non_blocking=True)
                for cut, features in enumerate(model.features_at_cuts(images)):
                    _store(arrays[cut], rows, features.float().cpu(), cut, model.cuts[cut])
                done += len(rows)
                progress.advance(done, total)
        self.cache.finish(part, arrays, time.perf_counter() - start)

    def _batches(self, part: str) -> Iterable[tuple[Indices, tuple[Tensor, Tensor]]]:
        """Batches of images, each with the rows of its images in the part's arrays."""
        data, size = self.data, self.data.batch_size
        if part == CALIBRATION:
            places = np.arange(len(data.splits.calibration), dtype=np.int64)
            rows = (places[start : start + size] for start in range(0, len(places), size))
            yield from zip(rows, data.calibration_loader(), strict=True)
            return
        batches = _AllBatches(data.splits.train, size, data.seed)
        batches.set_epoch(int(part[5:]))
        loader = image_loader(TrainingSet(data.source.train, data.transform), batches, data.workers)
        # The split is sorted, so the row of an image follows from its index.
        rows = (np.searchsorted(data.splits.train, batch.indices) for batch in batches)
        yield from zip(rows, loader, strict=True)


class _AllBatches(EpochBatches):
    """As `EpochBatches`, with a last batch of one image too: another epoch has that image elsewhere."""

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self._indices) // self.batch_size)


def _store(array: Array, rows: Indices, features: Tensor, cut: int, name: str) -> None:
    largest = float(features.abs().max())
    if not np.isfinite(largest):
        raise TrainingError(f"the features at {name} are not finite; the backbone's weights or images may be damaged")
    if array.dtype == np.float16 and largest > _LARGEST_FLOAT16:
        raise _RangeError(cut)
    array[rows] = features.contiguous().numpy()


def _shapes(model: MultiExitModel, data: PreparedData) -> tuple[tuple[int, ...], ...]:
    """Per cut the shape of one image's features. Raises TrainingError where a head reads more than is stored."""
    spec = data.spec
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()  # a batch of one image has no batch statistics
    try:
        with torch.inference_mode():
            image = torch.zeros(1, spec.channels, spec.height, spec.width, device=device)
            at_cuts = [features.clone() for features in model.features_at_cuts(image)]
            model.outputs_from(at_cuts)
    except KeyError as error:
        raise TrainingError(
            f"training.cache_augmentations: a head reads {error} beside the features at its cut, and only these are "
            "cached; set it to 0, so that the backbone runs at every step"
        ) from error
    finally:
        model.train(was_training)
    return tuple(tuple(features.shape[1:]) for features in at_cuts)
