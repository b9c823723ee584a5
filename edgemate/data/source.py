"""The interface of a dataset: labeled images for training and for testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgemate.core.image_files import decode
from edgemate.errors import DataError


class Images(Protocol):
    """N labeled images."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, int64 (N,)."""

    @property
    def array(self) -> npt.NDArray[np.uint8] | None:
        """All images, uint8 (N, H, W, C), if they are in memory, else None."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """One image, of mode L or RGB. Raises ImageError if it cannot be read."""


def name_of(images: Images, index: int) -> str:
    """What messages call an image: its path where it is a file."""
    paths: Sequence[Path] | None = getattr(images, "paths", None)
    return f"image {index}" if paths is None else str(paths[index])


@dataclass(frozen=True)
class DataSource:
    """A dataset.

    Attributes:
        name: for messages.
        classes: class names; a label is an index into them.
        channels: 1 (gray) or 3 (RGB).
        train: the images that are split into training and calibration.
        test: the images of the test split.
        size: (height, width) of every image, or None if they differ.
        left_out: damaged files that `data.skip_damaged` excludes.
        calibration: indices into `train`, sorted, int64 (n,), of the calibration split, where the dataset has one of
            its own; None to hold it out at random.
        ignored: files and folders found where images were looked for that are no images, or hidden.
        notes: how the splits were made, where a user might expect otherwise; one line each.

    Raises:
        DataError: there are no images or fewer than two classes, or a label is not a class index.
    """

    name: str
    classes: tuple[str, ...]
    channels: Literal[1, 3]
    train: Images
    test: Images
    size: tuple[int, int] | None = None
    left_out: tuple[Path, ...] = ()
    calibration: npt.NDArray[np.int64] | None = None
    ignored: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            only = f"one class only ({self.classes[0]})" if self.classes else "no classes"
            raise DataError(f"dataset {self.name} has {only}; a classifier needs two or more")
        for split, images in (("training", self.train), ("test", self.test)):
            if len(images) == 0:
                raise DataError(f"dataset {self.name}: there are no {split} images")
            low, high = int(images.labels.min()), int(images.labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"dataset {self.name}: {split} labels are from {low} to {high}; "
                    f"with {len(self.classes)} classes they must be from 0 to {len(self.classes) - 1}"
                )


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images in memory.

    Attributes:
        array: uint8 (N, H, W, C), C being 1 or 3.
        labels: int64 (N,).
    """

    array: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.array)

    def image(self, index: int) -> Image.Image:
        """One image, of mode L or RGB."""
        pixels = self.array[index]
        return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


@dataclass(frozen=True, eq=False)
class FileImages:
    """Images in files, decoded on access by `edgemate.core.image_files.decode`, as on the device.

    Attributes:
        paths: one file per image.
        labels: int64 (N,).
        channels: 1 to decode to gray (mode L), 3 to RGB.
    """

    paths: Sequence[Path]
    labels: npt.NDArray[np.int64]
    channels: Literal[1, 3]
    array: None = field(default=None, init=False)

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Image.Image:
        """One image, of mode L or RGB. Raises ImageError, naming the file, where it cannot be read."""
        return decode(self.paths[index], self.channels)
