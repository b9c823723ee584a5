"""A recipe's data section, made real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from edgemate.data.damaged import Used, require_whole
from edgemate.data.input_spec import InputSpec, Interpolation, plan_input
from edgemate.data.loaders import EpochBatches, ImageLoader, evaluation_loader, train_loader
from edgemate.data.loading import load_source, require_same_task
from edgemate.data.mixed import Domain, mixed_loader
from edgemate.data.on_device import OnDeviceLoader, OnDeviceTrainLoader, evaluation_loader_on, train_loader_on
from edgemate.data.source import DataSource
from edgemate.data.splits import Splits, limited, split, tested_indices
from edgemate.data.statistics import channel_statistics
from edgemate.data.transforms import EvaluationTransform, TrainingTransform
from edgemate.data.unlabeled import (
    Target,
    TargetPlan,
    build_target,
    part,
    require_same_size,
    unlabeled_indices,
)
from edgemate.errors import DataError
from edgemate.progress import SILENT, Progress
from edgemate.registry import AUGMENTATIONS


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset, split and ready to load.

    Attributes:
        source: the dataset.
        splits: indices into it.
        spec: of the network's input.
        transform: the training images'.
        batch_size: images per batch.
        workers: processes that prepare batches.
        seed: of the training order and augmentation.
        target: the second domain, where there is one.
        left_out: damaged files that are in no split, because the recipe says so.
    """

    source: DataSource
    splits: Splits
    spec: InputSpec
    transform: TrainingTransform
    batch_size: int
    workers: int
    seed: int
    target: Target | None = None
    left_out: tuple[Path, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        return self.source.classes

    def train_loader(self, rank: int = 0, replicas: int = 1) -> ImageLoader:
        """Shuffled, augmented batches; see `edgemate.data.loaders.train_loader`."""
        return train_loader(
            self.source.train,
            self.splits.train,
            self.transform,
            batch_size=self.batch_size,
            seed=self.seed,
            workers=self.workers,
            rank=rank,
            replicas=replicas,
        )

    def train_loader_on(self, device: torch.device) -> OnDeviceTrainLoader:
        """The batches of `train_loader`, made on `device`; see `edgemate.data.on_device`. Raises DataError."""
        return train_loader_on(
            device,
            self.source.train,
            self.splits.train,
            self.transform,
            batch_size=self.batch_size,
            seed=self.seed,
        )

    def calibration_loader_on(self, device: torch.device) -> OnDeviceLoader:
        """The batches of `calibration_loader`, made on `device`. Raises DataError."""
        return evaluation_loader_on(
            device, self.source.train, self.splits.calibration, self.spec, batch_size=self.batch_size
        )

    def calibration_loader(self) -> ImageLoader:
        """The calibration split, in order."""
        return self._evaluation_loader("calibration")

    def test_loader(self) -> ImageLoader:
        """The test split, in order."""
        return self._evaluation_loader("test")

    def mixed_loader(self, rank: int = 0, replicas: int = 1) -> ImageLoader:
        """The training batches with unlabeled images of the target behind the labeled ones; see `mixed_loader`.

        Raises:
            DataError: there is no target.
        """
        target = self._target()
        batches = EpochBatches(self.splits.train, self.batch_size, self.seed, rank, replicas)
        return mixed_loader(
            Domain(self.source.train, self.transform),
            Domain(target.train, target.transform),
            batches,
            per_batch=target.per_batch,
            workers=self.workers,
        )

    def target_test_loader(self) -> ImageLoader:
        """The target's test split, in order. Raises DataError where there is no target."""
        target = self._target()
        return evaluation_loader(
            target.test,
            np.arange(len(target.test), dtype=np.int64),
            EvaluationTransform(target.spec),
            batch_size=self.batch_size,
            workers=self.workers,
        )

    def _target(self) -> Target:
        if self.target is None:
            raise DataError("there is no target domain; data.unlabeled names one")
        return self.target

    def _evaluation_loader(self, name: Literal["calibration", "test"]) -> ImageLoader:
        images = self.source.test if name == "test" else self.source.train
        return evaluation_loader(
            images,
            getattr(self.splits, name),
            EvaluationTransform(self.spec),
            batch_size=self.batch_size,
            workers=self.workers,
        )


def build_data(
    name: str,
    *,
    options: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    resize: Literal["stretch", "shorter_side"] | None = None,
    resize_to: int | None = None,
    interpolation: Interpolation = "bilinear",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    calibration_fraction: float = 0.1,
    split_seed: int = 0,
    train_limit: int | None = None,
    calibration_limit: int | None = None,
    test_limit: int | None = None,
    augmentation: Sequence[tuple[str, Mapping[str, Any]]] = (),
    batch_size: int = 128,
    workers: int = 0,
    seed: int = 0,
    unlabeled: TargetPlan | None = None,
    progress: Progress = SILENT,
) -> Data:
    """Load a dataset, split it and make ready to load it.

    Every image file that is used is looked at first, those of the test split too; see `require_whole`.

    Args:
        name: registered dataset, or the dotted path of a factory that returns a DataSource.
        options: the dataset's.
        image_size: see `plan_input`, as for the next three.
        resize: how images reach image_size.
        resize_to: the shorter side before the center crop.
        interpolation: PIL's filter.
        mean: per channel, of pixels in [0, 1]; measured on the training split if None.
        std: beside the mean: both or neither.
        calibration_fraction: see `split`, as for the next two.
        split_seed: draws the calibration split.
        train_limit: use only so many training images.
        calibration_limit: see `split`.
        test_limit: use only so many test images, of each domain.
        augmentation: names and options, in order.
        batch_size: images per batch.
        workers: processes that prepare batches.
        seed: of the training order and augmentation.
        unlabeled: a second domain, whose images have no labels in training. Where it is made of the same dataset,
            the training split is split between the two before `train_limit` applies.
        progress: told how far looking at the files has come.

    Raises:
        DataError: a dataset is missing, image files are damaged, the options do not fit it, or the two domains not
            each other.
        UsageError: a name is unknown, or an option is out of range.
    """
    if (mean is None) != (std is None):
        raise DataError("data.mean and data.std stand together: set both, or neither to have them measured")
    source = load_source(name, options)
    spec = plan_input(source, image_size, resize, resize_to, interpolation)
    splits = split(source, calibration_fraction, split_seed, calibration_limit=calibration_limit, test_limit=test_limit)
    domain, for_target = source, None
    if unlabeled is not None:
        if _is_same(unlabeled, name, options):
            own, for_target = part(source.train.labels, splits.train, unlabeled.share, split_seed)
            splits = replace(splits, train=own)
        else:
            domain = load_source(str(unlabeled.name), unlabeled.options)
            require_same_task(source, domain)
    splits = replace(splits, train=limited(source.train.labels, splits.train, train_limit, split_seed))
    used: dict[str, Used] = {
        "train": (source.train, splits.train),
        "calibration": (source.train, splits.calibration),
        "test": (source.test, splits.test),
    }
    chosen = None
    if unlabeled is not None:
        chosen = unlabeled_indices(unlabeled, domain, for_target, split_seed)
        used["unlabeled"] = domain.train, chosen
        if domain is not source:
            used["target_test"] = domain.test, tested_indices(domain.test.labels, test_limit)
    require_whole(used, progress)
    if mean is None or std is None:
        mean, std = channel_statistics(source.train, splits.train, spec, split_seed)
    spec = spec.with_normalization(mean, std)
    augmentations = [AUGMENTATIONS.get(part)(spec, **part_options) for part, part_options in augmentation]
    data = Data(
        source,
        splits,
        spec,
        TrainingTransform(spec, augmentations),
        batch_size,
        workers,
        seed,
        left_out=source.left_out + (() if domain is source else domain.left_out),
    )
    if unlabeled is None or chosen is None:
        return data
    domain_spec = plan_input(domain, image_size, resize, resize_to, interpolation).with_normalization(mean, std)
    require_same_size(spec, domain_spec)
    target = build_target(unlabeled, domain, chosen, domain_spec, augmentations, split_seed, test_limit)
    return replace(data, target=target)


def _is_same(plan: TargetPlan, name: str, options: Mapping[str, Any] | None) -> bool:
    return plan.name is None or (plan.name == name and dict(plan.options or {}) == dict(options or {}))
