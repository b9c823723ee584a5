"""A recipe's data section as loaders, in memory or on the training device."""

from __future__ import annotations

import torch

from edgemate.config import Recipe
from edgemate.data import PreparedData, build_data
from edgemate.data.loaders import ImageLoader
from edgemate.data.on_device import OnDeviceLoader
from edgemate.distillation import Method
from edgemate.progress import SILENT, Progress

Loader = ImageLoader | OnDeviceLoader


def data_of(recipe: Recipe, progress: Progress = SILENT) -> PreparedData:
    """The dataset that a recipe names, split and ready to load; `progress` is told how far its files are looked at.

    Raises:
        DataError: it is missing or damaged; see `build_data`.
        UsageError: for a bad option.
    """
    return build_data(
        recipe.data,
        batch_size=recipe.optimization.batch_size,
        workers=recipe.training.workers,
        seed=recipe.training.seed,
        progress=progress,
    )


def loaders_of(recipe: Recipe, data: PreparedData, method: Method) -> tuple[Loader, Loader]:
    """Batches of the training and of the calibration split. Raises DataError where they cannot lie on the device."""
    settings = recipe.training
    if settings.data_on_device:
        on_gpu = settings.accelerator != "cpu" and torch.cuda.is_available()
        device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
        return data.train_loader_on(device), data.calibration_loader_on(device)
    return data.mixed_loader() if method.uses_unlabeled else data.train_loader(), data.calibration_loader()
