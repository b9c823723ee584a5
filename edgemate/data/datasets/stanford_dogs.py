"""Stanford Dogs: breeds of dogs from ImageNet (Khosla et al., first workshop on FGVC at CVPR, 2011)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgemate.data.datasets._matlab import read_mat
from edgemate.data.datasets._official import FileNames, Published
from edgemate.data.source import DataSource, FileImages
from edgemate.errors import DataError

_PUBLISHED = Published(
    "stanford_dogs",
    "stanford_dogs",
    "Images/<id>-<breed>/*.jpg, train_list.mat and test_list.mat",
    "images.tar and lists.tar (http://vision.stanford.edu/aditya86/ImageNetDogs/)",
)


def stanford_dogs(*, root: str | None = None) -> DataSource:
    """12,000 training and 8,580 test images of 120 breeds, RGB, of different sizes.

    Splits and classes are the official ones, from train_list.mat and test_list.mat, which may also be in lists/; they
    are read with SciPy. Images are used whole: the bounding boxes are not read. The images are a part of ImageNet's
    training images, which flatters weights that were pretrained on it.

    Args:
        root: folder that holds stanford_dogs; $EDGEMATE_DATA, else ~/.cache/edgemate/data, by default.

    Raises:
        DataError: files are missing, or a list is damaged.
    """
    check_stanford_dogs(root=root)
    folder = _PUBLISHED.located(root)
    train_names, train_labels = _read_list(_list(folder, "train"))
    test_names, test_labels = _read_list(_list(folder, "test"))
    return DataSource(
        name="stanford_dogs",
        classes=_classes(folder, [*train_names, *test_names], [*train_labels.tolist(), *test_labels.tolist()]),
        channels=3,
        train=FileImages(FileNames(folder / "Images", train_names), train_labels, 3),
        test=FileImages(FileNames(folder / "Images", test_names), test_labels, 3),
    )


def check_stanford_dogs(*, root: str | None = None) -> None:
    """Check that the files exist. Raises DataError."""
    folder = _PUBLISHED.located(root, "Images")
    for split in ("train", "test"):
        if not _list(folder, split).is_file():
            raise _PUBLISHED.missing(root, f"{folder / f'{split}_list.mat'} is missing")


def _list(folder: Path, split: str) -> Path:
    beside = folder / f"{split}_list.mat"
    return beside if beside.is_file() else folder / "lists" / beside.name


def _read_list(path: Path) -> tuple[list[str], Any]:
    """Files relative to Images/, and labels from 0, int64 (N,)."""
    files, numbers = read_mat(path, "file_list", "labels")
    if files.shape != numbers.shape or files.ndim != 1 or numbers.dtype.kind not in "iuf":
        raise DataError(f"{path}: file_list and labels do not have one entry per image; unpack the dataset again")
    return [str(name) for name in files], numbers.astype(np.int64) - 1


def _classes(folder: Path, names: list[str], labels: list[int]) -> tuple[str, ...]:
    """Breeds by label, from the folders of the images: `n02085620-Chihuahua` → `Chihuahua`."""
    folder_of: dict[int, str] = {}
    for name, label in zip(names, labels, strict=True):
        held = name.partition("/")[0]
        if folder_of.setdefault(label, held) != held:
            raise DataError(
                f"{_list(folder, 'train')}: label {label + 1} is given to images in {folder_of[label]} and in {held}; "
                "unpack the dataset again"
            )
    if sorted(folder_of) != list(range(len(folder_of))):
        raise DataError(
            f"{_list(folder, 'train')}: its labels are from {min(folder_of) + 1} to {max(folder_of) + 1}, with gaps; "
            "unpack the dataset again"
        )
    return tuple(
        (folder_of[label].partition("-")[2] or folder_of[label]).replace("_", " ") for label in range(len(folder_of))
    )
