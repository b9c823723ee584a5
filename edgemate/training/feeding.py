"""Where a training's images are kept (`data.cache`), and the loaders that read them there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch

from edgemate.data import PreparedData
from edgemate.data.held import held_bytes
from edgemate.data.loaders import ImageLoader
from edgemate.data.on_device import MAX_FRACTION, OnDeviceLoader, free_bytes, works_on_device
from edgemate.data.source import FileImages
from edgemate.distillation.method import Method
from edgemate.errors import DataError
from edgemate.machine import free_memory
from edgemate.progress import SILENT, Progress

Cache = Literal["auto", "device", "ram", "none"]
_AUTO_FRACTION = 0.25
"""Of the free memory, what `auto` lets images take."""


class Place(NamedTuple):
    """Where images are kept, and the same in words, for the header of the training."""

    name: Literal["device", "ram", "none"]
    note: str


@dataclass(frozen=True, eq=False)
class Feed:
    """Batches of the training and of the calibration split.

    Attributes:
        train: shuffled and augmented.
        calibration: in order.
        place: where the images are kept.
    """

    train: ImageLoader | OnDeviceLoader
    calibration: ImageLoader | OnDeviceLoader
    place: Place


def make_feed(
    data: PreparedData, method: Method, device: torch.device, place: Place, progress: Progress = SILENT
) -> Feed:
    """Decode what is kept, and make the loaders.

    Args:
        data: the dataset.
        method: that is trained.
        device: it is trained on.
        place: where the images are kept; see `choose_place`.
        progress: receives the number of images decoded.

    Raises:
        DataError: the images do not fit on the device, cannot be augmented there, or a file cannot be read.
        ImageError: likewise.
    """
    if place.name == "device":
        if method.uses_unlabeled:
            raise DataError("data.cache: device knows one domain only; set it to ram or none")
        return Feed(data.train_loader_on(device, progress), data.calibration_loader_on(device, progress), place)
    if place.name == "ram":
        data = data.in_memory(progress)
    train = data.mixed_loader() if method.uses_unlabeled else data.train_loader()
    return Feed(train, data.calibration_loader(), place)


def choose_place(
    asked: Cache, epochs: int, data: PreparedData, method: Method, device: torch.device, processes: int = 1
) -> Place:
    """Where images are kept. What a recipe asks for is taken as it is; `auto` is decided here.

    Args:
        asked: `data.cache`.
        epochs: `optimization.epochs`.
        data: the dataset.
        method: that is trained.
        device: it is trained on.
        processes: that share this machine's memory, each with the images of its own.
    """
    images = data.source.train
    wanted = np.concatenate([data.splits.train, data.splits.calibration])
    fitted = len(wanted) * data.spec.channels * data.spec.height * data.spec.width
    if asked == "auto" and device.type == "cuda":
        free = free_bytes(device)
        fits = free is not None and fitted / data.sharding.ranks <= MAX_FRACTION * free
        if fits and not method.uses_unlabeled and works_on_device(data.transform):
            asked = "device"
    if asked == "device":
        devices = data.sharding.ranks
        if devices > 1:
            return Place("device", f"divided over {devices} training devices, {_size(fitted / devices)} on each")
        return Place("device", f"on the training device, {_size(fitted)}")
    if not isinstance(images, FileImages):
        return Place("ram", "in memory, as the dataset is")
    if asked == "none":
        return Place("none", "read from their files in every epoch")
    needed, free = held_bytes(images, wanted) * processes, free_memory()
    if asked == "ram":
        return Place("ram", f"in memory, about {_size(needed)}")
    if epochs < 2:
        return Place("none", "read from their files, once")
    if free is None or needed > _AUTO_FRACTION * free:
        left = "unknown" if free is None else _size(free)
        return Place(
            "none", f"read from their files in every epoch; decoded, they would take {_size(needed)} (free: {left})"
        )
    return Place("ram", f"in memory, about {_size(needed)}")


def _size(number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"
