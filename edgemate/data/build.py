"""From a recipe's data section to splits and loaders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from edgemate.config import Data
from edgemate.core.input_spec import InputSpec
from edgemate.data.augmenting import make_augmentations
from edgemate.data.damaged import Used, require_whole
from edgemate.data.held import hold
from edgemate.data.input_plan import plan_input
from edgemate.data.loaders import EpochBatches, ImageLoader, evaluation_loader, train_loader
from edgemate.data.loading import load_source, require_same_task
from edgemate.data.mixed import Domain, mixed_loader
from edgemate.data.notes import data_notes
from edgemate.data.on_device import OnDeviceLoader, OnDeviceTrainLoader, evaluation_loader_on, train_loader_on
from edgemate.data.source import DataSource, FileImages
from edgemate.data.splits import Splits, limited, split, tested_indices
from edgemate.data.statistics import channel_statistics
from edgemate.data.transforms import EvaluationTransform, TrainingTransform
from edgemate.data.unlabeled import Target, build_target, split_domains, unlabeled_indices
from edgemate.distributed.sharding import ONE_PROCESS, Sharding
from edgemate.errors import DataError
from edgemate.progress import SILENT, Progress

Indices = npt.NDArray[np.int64]
HALF = 0.5
"""Of the training split, the unlabeled domain's where the recipe gives no fraction."""


@dataclass(frozen=True, eq=False)
class PreparedData:
    """A dataset with its splits, input specification and loaders.

    Attributes:
        source: the dataset.
        splits: indices into it.
        spec: input specification of the network.
        transform: of the training images.
        batch_size: images per batch, over all processes.
        workers: processes that prepare batches.
        seed: of the training order and augmentation.
        target: the second domain; None without one.
        left_out: damaged files that the recipe excludes from all splits.
        balanced: `data.sampling` is balanced.
        repeats: how many times an image is in a batch.
        sharding: what this process takes of every batch and of every evaluated split; all of it by default.
        notes: what a user should know before training starts, one line each; see `edgemate.data.notes`.
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
    notes: tuple[str, ...] = ()
    balanced: bool = False
    repeats: int = 1
    sharding: Sharding = ONE_PROCESS

    @property
    def micro_batch_size(self) -> int:
        """Images that the network sees at once."""
        return max(1, self.batch_size // self.sharding.parts)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is an index into them."""
        return self.source.classes

    def train_loader(self) -> ImageLoader:
        """Shuffled, augmented batches of the training split; see `edgemate.data.loaders.train_loader`."""
        return train_loader(
            self.source.train,
            self.splits.train,
            self.transform,
            batch_size=self.batch_size,
            seed=self.seed,
            workers=self.workers,
            sharding=self.sharding,
            balanced=self.balanced,
            repeats=self.repeats,
        )

    def train_loader_on(self, device: torch.device, progress: Progress = SILENT) -> OnDeviceTrainLoader:
        """The batches of `train_loader`, made on `device`; see `edgemate.data.on_device`. Raises DataError."""
        return train_loader_on(
            device,
            self.source.train,
            self.splits.train,
            self.transform,
            batch_size=self.batch_size,
            seed=self.seed,
            sharding=self.sharding,
            balanced=self.balanced,
            repeats=self.repeats,
            progress=progress,
        )

    def calibration_loader_on(self, device: torch.device, progress: Progress = SILENT) -> OnDeviceLoader:
        """The batches of `calibration_loader`, made on `device`. Raises DataError."""
        indices = self.splits.calibration
        return evaluation_loader_on(
            device,
            self.source.train,
            self.sharding.evaluated(indices, self.micro_batch_size),
            self.spec,
            batch_size=self.micro_batch_size,
            progress=progress,
        )

    def in_memory(self, progress: Progress = SILENT) -> PreparedData:
        """The same with the files of the training and calibration split decoded once; see `edgemate.data.held`.

        Raises:
            ImageError: one cannot be read.
        """
        files = self.source.train
        if not isinstance(files, FileImages):
            return self
        wanted = np.concatenate([self.splits.train, self.splits.calibration])
        return replace(self, source=replace(self.source, train=hold(files, wanted, progress)))

    def calibration_loader(self) -> ImageLoader:
        """Batches of the calibration split, in order."""
        return self._evaluation_loader("calibration")

    def test_loader(self) -> ImageLoader:
        """Batches of the test split, in order."""
        return self._evaluation_loader("test")

    def mixed_loader(self) -> ImageLoader:
        """Training batches of labeled source images followed by unlabeled target images; see `mixed_loader`.

        Raises:
            DataError: there is no target.
        """
        target = self._target()
        labels = self.source.train.labels[self.splits.train] if self.balanced else None
        batches = EpochBatches(
            self.splits.train, self.batch_size, self.seed, self.sharding, balance=labels, repeats=self.repeats
        )
        return mixed_loader(
            Domain(self.source.train, self.transform),
            Domain(target.train, target.transform),
            batches,
            per_batch=target.per_batch,
            workers=self.workers,
        )

    def target_test_loader(self) -> ImageLoader:
        """Batches of the target's test split, in order. Raises DataError without a target."""
        target = self._target()
        indices = np.arange(len(target.test), dtype=np.int64)
        return evaluation_loader(
            target.test,
            self.sharding.evaluated(indices, self.micro_batch_size),
            EvaluationTransform(target.spec),
            batch_size=self.micro_batch_size,
            workers=self.workers,
        )

    def _target(self) -> Target:
        if self.target is None:
            raise DataError("there is no target domain; set data.unlabeled")
        return self.target

    def _evaluation_loader(self, name: Literal["calibration", "test"]) -> ImageLoader:
        images = self.source.test if name == "test" else self.source.train
        indices: Indices = getattr(self.splits, name)
        return evaluation_loader(
            images,
            self.sharding.evaluated(indices, self.micro_batch_size),
            EvaluationTransform(self.spec),
            batch_size=self.micro_batch_size,
            workers=self.workers,
        )


def build_data(
    section: Data, *, batch_size: int = 128, workers: int = 0, seed: int = 0, progress: Progress = SILENT
) -> PreparedData:
    """Load the dataset of a recipe's data section, split it and prepare its loaders.

    Every image file that is used is checked first, those of the test split included; see `require_whole`. With
    `section.skip_damaged`, all files of the dataset are checked, and damaged ones left out before it is split. Where
    `section.unlabeled` names no other dataset, the training split is split between the two domains before
    `train_limit` applies.

    Args:
        section: the recipe's data section.
        batch_size: images per batch.
        workers: processes that prepare batches; 0 prepares them in the calling process.
        seed: of the training order and augmentation.
        progress: receives the number of files checked.

    Raises:
        DataError: a dataset is missing, image files are damaged, or the options do not fit the dataset or the two
            domains each other.
        UsageError: a name is unknown, or an option is out of range.
    """
    if (section.mean is None) != (section.std is None):
        raise DataError("data.mean and data.std: only one is set; set both, or neither to have them measured")
    source = load_source(section.name, section.options, skip_damaged=section.skip_damaged, progress=progress)
    splits = split(
        source,
        section.calibration_fraction,
        section.split_seed,
        calibration_limit=section.calibration_limit,
        test_limit=section.test_limit,
    )
    domain, for_target = source, None
    if section.unlabeled is not None:
        if section.splits_own_dataset:
            own, for_target = split_domains(
                source.train.labels, splits.train, section.unlabeled.fraction or HALF, section.split_seed
            )
            splits = replace(splits, train=own)
        else:
            other = section.unlabeled
            domain = load_source(str(other.name), other.options, skip_damaged=section.skip_damaged, progress=progress)
            require_same_task(source, domain)
    train = limited(source.train.labels, splits.train, section.train_limit, section.split_seed)
    splits = replace(splits, train=train)
    used: dict[str, Used] = {
        "train": (source.train, splits.train),
        "calibration": (source.train, splits.calibration),
        "test": (source.test, splits.test),
    }
    chosen = None
    if section.unlabeled is not None:
        chosen = unlabeled_indices(section.unlabeled, domain, for_target, section.split_seed)
        used["unlabeled"] = domain.train, chosen
    if domain is not source:
        used["target_test"] = domain.test, tested_indices(domain.test.labels, section.test_limit)
    if not section.skip_damaged:  # else checked when it was loaded
        require_whole(used, progress)
    spec = _normalized_spec(section, source, splits)
    augmentations = make_augmentations(section.augmentation, spec)
    return PreparedData(
        source,
        splits,
        spec,
        TrainingTransform(spec, augmentations),
        batch_size,
        workers,
        seed,
        None if chosen is None else build_target(section, domain, chosen, spec, augmentations),
        source.left_out + (() if domain is source else domain.left_out),
        data_notes([source] if domain is source else [source, domain], splits),
        section.sampling == "balanced",
        section.repeats,
    )


def _normalized_spec(section: Data, source: DataSource, splits: Splits) -> InputSpec:
    spec = plan_input(source, section)
    if section.mean is None or section.std is None:
        return spec.with_normalization(*channel_statistics(source.train, splits.train, spec, section.split_seed))
    try:
        return spec.with_normalization(section.mean, section.std)
    except DataError as error:
        raise DataError(f"data.{error}") from error
