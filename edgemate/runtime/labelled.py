"""Pictures with or without labels, from a folder or an `.npz` file, without anything of what trained the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemate import files
from edgemate.errors import DataError
from edgemate.images import IMAGE_SUFFIXES, find_images
from edgemate.runtime.preprocessing import Picture


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """N pictures; `labels` are class indices `(N,)`, or None where nobody knows."""

    pictures: Sequence[Picture]
    labels: npt.NDArray[np.int64] | None


def read_labelled(path: Path, classes: Sequence[str]) -> LabelledPictures:
    """The pictures at `path`.

    A folder with one folder per class, named as `classes` are, gives labelled pictures; any other folder all pictures
    in it, unlabelled. An `.npz` file has `x_test` (or `images`), uint8 `(N, H, W)` or `(N, H, W, C)`, and perhaps
    `y_test` (or `labels`), integers `(N,)`.

    Raises:
        DataError: there are no pictures, or labels that are no classes.
    """
    if path.is_dir():
        return _folder(path, list(classes))
    if path.suffix == ".npz":
        return _arrays(path, len(classes))
    raise DataError(f"{path}: is no folder of pictures and no .npz file")


def find_pictures(folder: Path) -> list[Path]:
    """Every image file below a folder, sorted, without hidden ones. Raises DataError where there is none."""
    found = find_images(folder)
    if not found:
        raise DataError(f"{folder}: no picture in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def _folder(path: Path, classes: list[str]) -> LabelledPictures:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    known = [folder for folder in folders if folder.name in classes]
    if not known:
        return LabelledPictures(find_pictures(path), None)
    if len(known) < len(folders):
        strange = next(folder.name for folder in folders if folder not in known)
        raise DataError(f"{path}: {strange!r} is none of the bundle's classes: {', '.join(classes)}")
    pictures: list[Path] = []
    labels: list[int] = []
    for folder in known:
        inside = find_pictures(folder)
        pictures += inside
        labels += [classes.index(folder.name)] * len(inside)
    return LabelledPictures(pictures, np.array(labels, dtype=np.int64))


def _arrays(path: Path, classes: int) -> LabelledPictures:
    try:
        arrays = files.read_arrays(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as .npz: {error}") from error
    pictures = arrays.get("x_test", arrays.get("images"))
    labels = arrays.get("y_test", arrays.get("labels"))
    if pictures is None or pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or not len(pictures):
        raise DataError(f"{path}: x_test must be uint8 pictures (N, H, W) or (N, H, W, C)")
    if labels is None:
        return LabelledPictures(list(pictures), None)
    if labels.shape != (len(pictures),) or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: y_test must be integers ({len(pictures)},), not {labels.dtype} {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"{path}: y_test runs from {labels.min()} to {labels.max()}; the bundle has {classes} classes")
    return LabelledPictures(list(pictures), labels.astype(np.int64))
