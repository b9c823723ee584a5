"""Images in one folder per class, for datasets whose classes are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgemate.data.datasets._official import FileNames, folders_in, images_in
from edgemate.data.source import FileImages
from edgemate.errors import DataError
from edgemate.registry import closest


def read_class_folders(folder: Path, label_of: Mapping[str, int], inner: str = "") -> FileImages:
    """The RGB images directly in the class folders of a folder, by label and name.

    Args:
        folder: of one split.
        label_of: name of a class folder → label. Several names may stand for one class, of which one may be there.
        inner: folder within a class folder that has the images, if it exists.

    Raises:
        DataError: as for `class_folders`, or a folder has no images.
    """
    names: list[str] = []
    labels: list[int] = []
    for label, held in class_folders(folder, label_of):
        place = f"{held}/{inner}" if inner and (folder / held / inner).is_dir() else held
        found = images_in(folder / place)
        if not found:
            raise DataError(f"{folder / place}: has no images; unpack the dataset again")
        names += [f"{place}/{name}" for name in found]
        labels += [label] * len(found)
    return FileImages(FileNames(folder, names), np.asarray(labels, dtype=np.int64), 3)


def class_folders(folder: Path, label_of: Mapping[str, int]) -> list[tuple[int, str]]:
    """Label and name of the folder of every class, sorted. Images are not looked for.

    Args:
        folder: of one split.
        label_of: as for `read_class_folders`.

    Raises:
        DataError: a folder is of no known class or the second one of its class, or a class has none.
    """
    places: dict[int, str] = {}
    for name in folders_in(folder):
        if name not in label_of:
            raise DataError(f"{folder / name}: is of no known class; {closest(name, label_of)}")
        label = label_of[name]
        if label in places:
            raise DataError(f"{folder / name}: has the same class as {folder / places[label]}; remove one of them")
        places[label] = name
    for name, label in label_of.items():
        if label not in places:
            raise DataError(f"{folder / name}: is missing; every class must have a folder; unpack the dataset again")
    return sorted(places.items())
