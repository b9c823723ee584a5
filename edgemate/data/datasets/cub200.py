"""CUB-200-2011: birds (Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", CNS-TR-2011-001)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgemate.data.datasets._official import FileNames, Published, rows
from edgemate.data.source import DataSource, FileImages
from edgemate.errors import DataError

_LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")
_PUBLISHED = Published(
    "cub200",
    "CUB_200_2011",
    f"{', '.join(_LISTS)} and images/<class>/*.jpg",
    "CUB_200_2011.tgz (https://www.vision.caltech.edu/datasets/cub_200_2011/)",
)


def cub200(*, root: str | None = None) -> DataSource:
    """5,994 training and 5,794 test images of 200 kinds of birds, RGB, of different sizes.

    Splits and classes are the official ones. Images are used whole: the bounding boxes, parts and attributes are not
    read.

    Args:
        root: folder that holds CUB_200_2011; $EDGEMATE_DATA, else ~/.cache/edgemate/data, by default.

    Raises:
        DataError: files are missing, or a list is damaged.
    """
    folder = _PUBLISHED.located(root, *_LISTS, "images")
    names = _by_number(folder / "images.txt", "NUMBER FILE")
    class_of = _by_number(folder / "image_class_labels.txt", "NUMBER CLASS")
    use_of = _by_number(folder / "train_test_split.txt", "NUMBER TRAIN")
    classes = _by_number(folder / "classes.txt", "NUMBER NAME")
    for path, found in (("image_class_labels.txt", class_of), ("train_test_split.txt", use_of)):
        if found.keys() != names.keys():
            number = min(found.keys() ^ names.keys())
            raise DataError(
                f"{folder / path}: its images are not those of images.txt (only one of them has image {number}); "
                "unpack the dataset again"
            )
    label_of = {number: label for label, number in enumerate(sorted(classes))}
    splits: dict[str, list[int]] = {"1": [], "0": []}
    for number in names:
        if use_of[number] not in splits:
            raise DataError(
                f"{folder / 'train_test_split.txt'}: image {number} has {use_of[number]!r}; 1 (training) or 0 (test) "
                "is required"
            )
        splits[use_of[number]].append(number)

    def images(numbers: list[int]) -> FileImages:
        labels = [_label(folder, class_of[number], label_of) for number in numbers]
        paths = FileNames(folder / "images", [names[number] for number in numbers])
        return FileImages(paths, np.asarray(labels, dtype=np.int64), 3)

    return DataSource(
        name="cub200",
        classes=tuple(_readable(classes[number]) for number in sorted(classes)),
        channels=3,
        train=images(splits["1"]),
        test=images(splits["0"]),
    )


def check_cub200(*, root: str | None = None) -> None:
    """Check that the files exist. Raises DataError."""
    _PUBLISHED.located(root, *_LISTS, "images")


def _by_number(path: Path, columns: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for number, value in rows(path, columns):
        if not number.isdecimal():
            raise DataError(f"{path}: {number!r} is not a number; {columns} is required; unpack the dataset again")
        found[int(number)] = value
    return found


def _label(folder: Path, number: str, label_of: dict[int, int]) -> int:
    label = label_of.get(int(number)) if number.isdecimal() else None
    if label is None:
        raise DataError(f"{folder / 'image_class_labels.txt'}: class {number} is not in classes.txt")
    return label


def _readable(name: str) -> str:
    """`001.Black_footed_Albatross` → `Black footed Albatross`."""
    return name.partition(".")[2].replace("_", " ") or name
