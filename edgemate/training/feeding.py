"""Where a training's images are kept (`data.cache`), and the loaders that read them there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from edgemate.config import Recipe
from edgemate.data import PreparedData
from edgemate.data.held import held_bytes
from edgemate.data.loaders import ImageLoader
from edgemate.data.on_device import MAX_FRACTION, OnDeviceLoader, free_bytes, works_on_device
from edgemate.data.source import FileImages
from edgemate.distillation.method import Method
from edgemate.errors import DataError
from edgemate.machine import free_memory
from edgemate.progress import SILENT, Progress

Place = Literal["device", "ram", "none"]
_AUTO_FRACTION = 0.25
"""Of the free memory, what `auto` lets images take."""


@dataclass(frozen=True, eq=False)
class Feed:
    """Batches of the training and of the calibration split.

    Attributes:
        train: shuffled and augmented.
        calibration: in order.
        place: where the images are kept.
        note: the same in words, for the header of the training.
    """

    train: ImageLoader | OnDeviceLoader
    calibration: ImageLoader | OnDeviceLoader
    place: Place
    note: str


def make_feed(recipe: Recipe, data: PreparedData, method: Method, progress: Progress = SILENT) -> Feed:
    """Decode what is kept, and make the loaders.

    Raises:
        DataError: the images do not fit on the device, cannot be augmented there, or a file cannot be read.
        ImageError: likewise.
    """
    device = training_device(recipe)
    place, note = choose_place(recipe, data, method, device)
    if place == "device":
        if method.uses_unlabeled:
            raise DataError("data.cache: device knows one domain only; set it to ram or none")
        return Feed(data.train_loader_on(device, progress), data.calibration_loader_on(device, progress), place, note)
    if place == "ram":
        data = data.in_memory(progress)
    train = data.mixed_loader() if method.uses_unlabeled else data.train_loader()
    return Feed(train, data.calibration_loader(), place, note)


def training_device(recipe: Recipe) -> torch.device:
    """Where a recipe trains on this machine."""
    on_gpu = recipe.training.accelerator != "cpu" and torch.cuda.is_available()
    return torch.device("cuda", 0) if on_gpu else torch.device("cpu")


def choose_place(recipe: Recipe, data: PreparedData, method: Method, device: torch.device) -> tuple[Place, str]:
    """Where images are kept, and that in words. What a recipe asks for is taken as it is; `auto` is decided here."""
    asked = recipe.data.cache
    images = data.source.train
    wanted = np.concatenate([data.splits.train, data.splits.calibration])
    fitted = len(wanted) * data.spec.channels * data.spec.height * data.spec.width
    if asked == "auto" and device.type == "cuda":
        free = free_bytes(device)
        fits = free is not None and fitted <= MAX_FRACTION * free
        if fits and not method.uses_unlabeled and works_on_device(data.transform):
            asked = "device"
    if asked == "device":
        return "device", f"on the training device, {_size(fitted)}"
    if not isinstance(images, FileImages):
        return "ram", "in memory, as the dataset is"
    if asked == "none":
        return "none", "read from their files in every epoch"
    needed, free = held_bytes(images, wanted), free_memory()
    if asked == "ram":
        return "ram", f"in memory, about {_size(needed)}"
    if recipe.optimization.epochs < 2:
        return "none", "read from their files, once"
    if free is None or needed > _AUTO_FRACTION * free:
        left = "unknown" if free is None else _size(free)
        return "none", f"read from their files in every epoch; decoded, they would take {_size(needed)} (free: {left})"
    return "ram", f"in memory, about {_size(needed)}"


def _size(number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"
