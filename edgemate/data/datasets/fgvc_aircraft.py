"""FGVC-Aircraft: aircraft by variant, family or manufacturer (Maji et al., arXiv 1306.5151)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from edgemate.data.datasets._official import FileNames, Published, read_lines, rows
from edgemate.data.source import DataSource, FileImages
from edgemate.errors import DataError

_PUBLISHED = Published(
    "fgvc_aircraft",
    "fgvc-aircraft-2013b/data",
    "images/*.jpg, images_<level>_{train,val,test}.txt, variants.txt, families.txt and manufacturers.txt",
    "fgvc-aircraft-2013b.tar.gz (https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/)",
)
_CLASSES = {"variant": "variants.txt", "family": "families.txt", "manufacturer": "manufacturers.txt"}


def fgvc_aircraft(
    *, root: str | None = None, level: Literal["variant", "family", "manufacturer"] = "variant"
) -> DataSource:
    """6,667 training and 3,333 test images of aircraft, RGB, of different sizes.

    The official training and validation images (3,334 and 3,333) are trained on together, as is usual; the calibration
    split is held out of them. The test split is the official one. Images are used whole: the bounding boxes are not
    read, and the line of 20 pixels at the bottom that names the photographer is not cropped.

    Args:
        root: folder that holds fgvc-aircraft-2013b; $EDGEMATE_DATA, else ~/.cache/edgemate/data, by default.
        level: of the classes: 100 variants, 70 families or 30 manufacturers.

    Raises:
        DataError: files are missing, or a list is damaged.
    """
    folder = _PUBLISHED.located(root, *_required(level))
    classes = tuple(line for line in read_lines(folder / _CLASSES[level]) if line)
    return DataSource(
        name="fgvc_aircraft",
        classes=classes,
        channels=3,
        train=_images(folder, level, ("train", "val"), classes),
        test=_images(folder, level, ("test",), classes),
    )


def check_fgvc_aircraft(*, root: str | None = None, level: str = "variant") -> None:
    """Check that the files exist. Raises DataError."""
    _PUBLISHED.located(root, *_required(level))


def _required(level: str) -> list[str]:
    return ["images", _CLASSES[level], *(f"images_{level}_{split}.txt" for split in ("train", "val", "test"))]


def _images(folder: Path, level: str, splits: tuple[str, ...], classes: tuple[str, ...]) -> FileImages:
    label_of = {name: label for label, name in enumerate(classes)}
    names, labels = [], []
    for split in splits:
        listed = folder / f"images_{level}_{split}.txt"
        for number, name in rows(listed, "NUMBER CLASS"):
            if name not in label_of:
                raise DataError(f"{listed}: image {number} is of {name!r}, which is not in {folder / _CLASSES[level]}")
            names.append(f"{number}.jpg")
            labels.append(label_of[name])
    return FileImages(FileNames(folder / "images", names), np.asarray(labels, dtype=np.int64), 3)
