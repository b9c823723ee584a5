"""Exact features of the evaluated splits, for runs that share a frozen backbone.

After a training the whole network is evaluated on the calibration and the test split. With a frozen backbone that takes
longer than training some heads, and it is the same for every run: so runs that share `training.cache_dir` share these
features too. They are kept in float32 and in the batches of the evaluation, so the logits are those of the whole
network bit for bit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgemate.config import Recipe
from edgemate.data import PreparedData
from edgemate.data.loaders import ImageLoader
from edgemate.evaluation.logits import Labels, Logits
from edgemate.models import MultiExitModel
from edgemate.progress import Progress
from edgemate.runs import Split
from edgemate.training.cache_key import digest, fingerprint, own_code, weights_digest
from edgemate.training.cached_loaders import gather, network_features
from edgemate.training.feature_cache import FeatureCache, gigabytes, require_space

_FORMAT = 1


@dataclass
class EvaluationFeatures:
    """The features of the calibration and the test split.

    Args:
        recipe: with `training.freeze: backbone` and `training.cache_dir`.
        data: the dataset, not divided among processes.
        model: with the backbone's weights.
        shapes: per cut the shape of one image's features.
    """

    recipe: Recipe
    data: PreparedData
    model: MultiExitModel
    shapes: tuple[tuple[int, ...], ...]

    def describe(self) -> str:
        """How large they are, in words."""
        bytes_per_image = 4 * sum(int(np.prod(shape)) for shape in self.shapes)
        splits = self.data.splits
        size = (len(splits.calibration) + len(splits.test)) * bytes_per_image
        return f"{gigabytes(size)} more for the evaluation, in float32"

    def logits(
        self, split: Split, loader: ImageLoader, device: torch.device, channels_last: bool, progress: Progress
    ) -> Iterator[tuple[Logits, Labels]]:
        """The logits of a split, batch by batch. Its features are computed and stored first, if no run has.

        Args:
            split: its name.
            loader: its images in order.
            device: where the network is.
            channels_last: memory format of the images.
            progress: notified of the number of images done.

        Yields:
            For each batch logits float32 (n, K, classes) and labels int64 (n,).

        Raises:
            TrainingError: the disk has no space.
            DataError: an image cannot be read.
        """
        cache, labels = self._cache(device, channels_last), self._labels(split)
        was_training = self.model.training
        self.model.eval()
        try:
            with cache.locked(lambda: progress.step("waiting for another training that computes these features")):
                cache.reload()
                if split not in cache.seconds:
                    self._fill(cache, split, loader, device, channels_last, progress)
            arrays, size = cache.arrays(split), self.data.micro_batch_size
            progress.step(f"evaluating the {split} split, image")
            for start in range(0, len(labels), size):
                rows = np.arange(start, min(start + size, len(labels)))
                with torch.inference_mode():
                    at_cuts = tuple(features.to(device) for features in gather(arrays, rows))
                    outputs = self.model.outputs_from(network_features(at_cuts, channels_last))
                    logits = self.model.ensemble_logits(outputs.logits).float().cpu().numpy()
                yield logits, labels[rows]
                progress.advance(start + len(rows), len(labels))
        finally:
            self.model.train(was_training)

    def _fill(
        self,
        cache: FeatureCache,
        split: Split,
        loader: ImageLoader,
        device: torch.device,
        channels_last: bool,
        progress: Progress,
    ) -> None:
        progress.step(f"features of the {split} split, image")
        start, done, total = time.perf_counter(), 0, len(self._labels(split))
        require_space(cache.path, total * cache.image_bytes())
        arrays = cache.create(split, total)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        with torch.inference_mode():
            for images, _ in loader:
                rows = slice(done, done + len(images))
                images = images.to(device, memory_format=layout, non_blocking=True)
                for array, features in zip(arrays, self.model.features_at_cuts(images), strict=True):
                    array[rows] = features.float().cpu().contiguous().numpy()
                done += len(images)
                progress.advance(done, total)
        cache.finish(split, arrays, time.perf_counter() - start)

    def _labels(self, split: Split) -> Labels:
        source, splits = self.data.source, self.data.splits
        train = split == "calibration"
        labels = source.train.labels[splits.calibration] if train else source.test.labels[splits.test]
        return labels.astype(np.int64, copy=False)

    def _cache(self, device: torch.device, channels_last: bool) -> FeatureCache:
        """The folder of these features: of the images, the backbone, and of what decides on the last bit."""
        data, recipe = self.data, self.recipe
        content: dict[str, Any] = {
            "format": _FORMAT,
            "data": recipe.data.model_dump(mode="json", exclude={"augmentation", "sampling", "repeats"}),
            "input": data.spec.to_json(),
            "images": [fingerprint(data.source.train), fingerprint(data.source.test)],
            "splits": digest(data.splits.calibration.tobytes(), data.splits.test.tobytes()),
            "cuts": self.model.cuts,
            "backbone": [recipe.model.backbone, recipe.model.options, weights_digest(self.model)],
            **own_code(recipe),
            "numerics": [device.type, channels_last, data.micro_batch_size, torch.get_num_threads(), torch.__version__],
        }
        key = digest(json.dumps(content, sort_keys=True, default=str).encode())[:16]
        folder = Path(recipe.training.cache_dir or "").expanduser() / f"evaluation-{key}"
        folder.mkdir(parents=True, exist_ok=True)
        return FeatureCache(folder, self.shapes, ["float32"] * len(self.shapes))
