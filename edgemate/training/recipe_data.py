"""A recipe's data section as loaders, in memory or on the training device."""

from __future__ import annotations

import torch

from edgemate.config import Recipe, Unlabeled
from edgemate.data import Data, TargetPlan, build_data
from edgemate.data.loaders import ImageLoader
from edgemate.data.on_device import OnDeviceLoader
from edgemate.distillation import Method
from edgemate.progress import SILENT, Progress

Loader = ImageLoader | OnDeviceLoader


def data_of(recipe: Recipe, progress: Progress = SILENT) -> Data:
    """The dataset that a recipe names, split and ready to load; `progress` is told how far its files are looked at.

    Raises:
        DataError: it is missing or damaged; see `build_data`.
        UsageError: for a bad option.
    """
    section = recipe.data
    return build_data(
        section.name,
        options=section.options,
        image_size=section.image_size,
        resize=section.resize,
        resize_to=section.resize_to,
        interpolation=section.interpolation,
        mean=section.mean,
        std=section.std,
        calibration_fraction=section.calibration_fraction,
        split_seed=section.split_seed,
        train_limit=section.train_limit,
        calibration_limit=section.calibration_limit,
        test_limit=section.test_limit,
        augmentation=[(part.name, part.options) for part in section.augmentation],
        batch_size=recipe.optimization.batch_size,
        workers=recipe.training.workers,
        seed=recipe.training.seed,
        unlabeled=_target_plan(section.unlabeled),
        progress=progress,
    )


def loaders_of(recipe: Recipe, data: Data, method: Method) -> tuple[Loader, Loader]:
    """Batches of the training and of the calibration split. Raises DataError where they cannot lie on the device."""
    settings = recipe.training
    if settings.data_on_device:
        on_gpu = settings.accelerator != "cpu" and torch.cuda.is_available()
        device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
        return data.train_loader_on(device), data.calibration_loader_on(device)
    return data.mixed_loader() if method.uses_unlabeled else data.train_loader(), data.calibration_loader()


def _target_plan(section: Unlabeled | None) -> TargetPlan | None:
    if section is None:
        return None
    return TargetPlan(
        section.name,
        section.options,
        [(part.name, part.options) for part in section.corruptions],
        0.5 if section.share is None else section.share,
        section.limit,
        section.per_batch,
    )
