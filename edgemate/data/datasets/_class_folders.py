"""Images in one folder per class, for datasets whose classes are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        DataError: a folder is of no known class, has no images, or is the second one of its class.
    """
    names: list[str] = []
    labels: list[int] = []
    for label, held in _by_label(folder, folders_in(folder), label_of):
        place = f"{held}/{inner}" if inner and (folder / held / inner).is_dir() else held
        found = images_in(folder / place)
        if not found:
            raise DataError(f"{folder / place}: has no images; unpack the dataset again")
        names += [f"{place}/{name}" for name in found]
        labels += [label] * len(found)
    return FileImages(FileNames(folder, names), np.asarray(labels, dtype=np.int64), 3)


def _by_label(folder: Path, held: Sequence[str], label_of: Mapping[str, int]) -> list[tuple[int, str]]:
    places: dict[int, str] = {}
    for name in held:
        if name not in label_of:
            raise DataError(f"{folder / name}: is of no known class; {closest(name, label_of)}")
        label = label_of[name]
        if label in places:
            raise DataError(f"{folder / name}: has the same class as {folder / places[label]}; remove one of them")
        places[label] = name
    return sorted(places.items())
