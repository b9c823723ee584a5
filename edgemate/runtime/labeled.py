"""Images with or without labels, from a folder or an `.npz` file, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgemate.array_files import read_arrays
from edgemate.core.image_search import IMAGE_SUFFIXES, check_no_root, class_folders, class_name, find_images
from edgemate.errors import DataError
from edgemate.runtime.preprocessing import ImageInput

_SHOWN = 5
"""Names in a message."""


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """N images and their labels.

    Attributes:
        images: paths or uint8 arrays.
        labels: class indices, int64 (N,); None if unknown.
        unlabeled: why there are none, where there are folders with the names of other classes.
    """

    images: Sequence[ImageInput]
    labels: npt.NDArray[np.int64] | None
    unlabeled: str | None = None


def read_labeled(path: Path, classes: Sequence[str]) -> LabeledImages:
    """Read the images in a folder or an `.npz` file.

    A folder with one subfolder per class, named as in `classes`, gives labeled images; any other folder gives all
    images in it, unlabeled. An `.npz` file has `x_test` (or `images`), uint8 (N, H, W) or (N, H, W, C), and optionally
    `y_test` (or `labels`), integers (N,).

    Args:
        path: the folder or file.
        classes: the bundle's class names.

    Raises:
        DataError: there are no images, or a label is not a class.
    """
    if path.is_dir():
        return _folder(path, list(classes))
    if path.suffix == ".npz":
        return _arrays(path, len(classes))
    raise DataError(f"{path}: is neither a folder of images nor an .npz file")


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder, sorted, without hidden ones.

    Raises:
        DataError: there is none.
        UsageError: the folder is the root of the file system.
    """
    check_no_root(folder)
    found = find_images(folder)
    if not found:
        raise DataError(f"{folder}: has no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def _folder(path: Path, classes: list[str]) -> LabeledImages:
    folders = class_folders(path)
    known = [folder for folder in folders if class_name(folder) in classes]
    if not known:
        return LabeledImages(list_images(path), None, _none_known(folders, classes))
    if len(known) < len(folders):
        strange = next(folder.name for folder in folders if folder not in known)
        raise DataError(f"{path}: folder {strange!r} is not one of the bundle's classes: {', '.join(classes)}")
    images: list[Path] = []
    labels: list[int] = []
    for folder in known:
        inside = list_images(folder)
        images += inside
        labels += [classes.index(class_name(folder))] * len(inside)
    return LabeledImages(images, np.array(labels, dtype=np.int64))


def _none_known(folders: Sequence[Path], classes: Sequence[str]) -> str | None:
    if not folders:
        return None
    names = ", ".join(repr(folder.name) for folder in folders[:_SHOWN]) + (" …" if len(folders) > _SHOWN else "")
    wanted = ", ".join(map(repr, classes[:_SHOWN])) + (" …" if len(classes) > _SHOWN else "")
    return f"folders {names} are none of the bundle's classes {wanted}"


def _arrays(path: Path, classes: int) -> LabeledImages:
    try:
        arrays = read_arrays(path, ("x_test", "images", "y_test", "labels"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as .npz: {error}") from error
    images = arrays.get("x_test", arrays.get("images"))
    labels = arrays.get("y_test", arrays.get("labels"))
    if images is None or images.dtype != np.uint8 or images.ndim not in (3, 4) or not len(images):
        raise DataError(f"{path}: x_test must be uint8 images (N, H, W) or (N, H, W, C)")
    if labels is None:
        return LabeledImages(list(images), None)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: y_test must be integers ({len(images)},), not {labels.dtype} {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{path}: y_test has labels from {labels.min()} to {labels.max()}; the bundle has {classes} classes"
        )
    return LabeledImages(list(images), labels.astype(np.int64))
