"""What a data set is to the rest of the house: labelled pictures for training and for testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgemate.errors import DataError
from edgemate.images import decode


class Pictures(Protocol):
    """N labelled pictures."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices (N,)."""

    @property
    def array(self) -> npt.NDArray[np.uint8] | None:
        """All pictures (N, H, W, C) where they lie in memory, else None."""

    def __len__(self) -> int: ...

    def picture(self, index: int) -> Image.Image:
        """One picture, of mode L or RGB. Raises PictureError where it cannot be read."""


@dataclass(frozen=True)
class DataSource:
    """A data set.

    Attributes:
        name: what messages call it.
        classes: class names; a label is an index into them.
        channels: 1 (grey) or 3 (RGB).
        train: the pictures that training and calibration share.
        test: the pictures that only tests see.
        size: (height, width) of every picture, or None where they differ.
        left_out: damaged files that are in no split, because an option says so.

    Raises:
        DataError: no pictures, or a label that is no class.
    """

    name: str
    classes: tuple[str, ...]
    channels: Literal[1, 3]
    train: Pictures
    test: Pictures
    size: tuple[int, int] | None = None
    left_out: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        for split, pictures in (("training", self.train), ("test", self.test)):
            if len(pictures) == 0:
                raise DataError(f"data set {self.name}: there are no {split} pictures")
            low, high = int(pictures.labels.min()), int(pictures.labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"data set {self.name}: {split} labels run from {low} to {high}; "
                    f"{len(self.classes)} classes allow 0 to {len(self.classes) - 1}"
                )


@dataclass(frozen=True, eq=False)
class ArrayPictures:
    """Pictures in memory.

    Attributes:
        array: uint8 (N, H, W, C), C being 1 or 3.
        labels: int64 (N,).
    """

    array: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.array)

    def picture(self, index: int) -> Image.Image:
        """One picture, of mode L or RGB."""
        pixels = self.array[index]
        return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


@dataclass(frozen=True, eq=False)
class FilePictures:
    """Images in files, decoded when asked for by `edgemate.images.decode`, as the device does it.

    Attributes:
        paths: one file per picture.
        labels: int64 (N,).
        channels: 1 to decode to grey (mode L), 3 to RGB.
    """

    paths: Sequence[Path]
    labels: npt.NDArray[np.int64]
    channels: Literal[1, 3]
    array: None = field(default=None, init=False)

    def __len__(self) -> int:
        return len(self.paths)

    def picture(self, index: int) -> Image.Image:
        """One picture, of mode L or RGB. Raises PictureError, naming the file, where it cannot be read."""
        return decode(self.paths[index], self.channels)
