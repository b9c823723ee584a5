"""Images in folders, one folder per class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgemate.core.image_files import IMAGE_SUFFIXES, find_images, is_image
from edgemate.data.damaged import find_damaged
from edgemate.data.root import locate
from edgemate.data.seeding import Purpose
from edgemate.data.source import DataSource, FileImages
from edgemate.data.splits import hold_out
from edgemate.errors import DataError
from edgemate.registry import closest


def image_folder(
    *,
    path: str,
    channels: Literal[1, 3] = 3,
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    test_seed: Annotated[int, Field(ge=0)] = 0,
    skip_damaged: bool = False,
) -> DataSource:
    """Images of any size in one folder per class; the folders' names are the classes.

    The class folders are in train/ and test/ (or val/ if there is no test/), or directly in the folder, in which case
    the test split is random. Images are also found in subfolders of a class; hidden files and folders are skipped.

    Args:
        path: the folder, relative to the current folder or to the data root.
        channels: 1 to convert to gray, 3 for RGB.
        test_fraction: of the images, for a random test split, stratified by class.
        test_seed: of a random test split.
        skip_damaged: leave out files whose header or end is damaged, checked each time the dataset is loaded;
            without it they are an error before training starts. Damage within a file is an error in either case;
            `edgemate data check` finds it.

    Raises:
        DataError: the folder is missing or has another layout, a class has no images, or test/ has a class that train/
            does not have.
    """
    root = locate(path)
    train, held = _split_folders(root)
    if held is None:
        classes, paths, labels, left_out = _scan(train, skip_damaged)
        kept, out = hold_out(labels, test_fraction, Purpose.TEST_SPLIT, test_seed)
        return DataSource(
            name=f"image_folder {root}",
            classes=classes,
            channels=channels,
            train=FileImages([paths[i] for i in kept], labels[kept], channels),
            test=FileImages([paths[i] for i in out], labels[out], channels),
            left_out=left_out,
        )
    classes, train_paths, train_labels, train_left_out = _scan(train, skip_damaged)
    _, test_paths, test_labels, test_left_out = _scan(held, skip_damaged, classes)
    return DataSource(
        name=f"image_folder {root}",
        classes=classes,
        channels=channels,
        train=FileImages(train_paths, train_labels, channels),
        test=FileImages(test_paths, test_labels, channels),
        left_out=train_left_out + test_left_out,
    )


def check_image_folder(*, path: str, **_: Any) -> None:
    """Check that the folder has the layout that `image_folder` needs; one image per class is enough.

    Raises:
        DataError: it does not.
    """
    train, held = _split_folders(locate(path))
    classes = _class_folders(train, None)
    folders = [train / name for name in classes]
    if held is not None:
        folders += [held / name for name in _class_folders(held, classes)]
    for folder in folders:
        if not _has_image(folder) and not find_images(folder):
            raise DataError(_no_images(folder))


def _split_folders(root: Path) -> tuple[Path, Path | None]:
    """The folders that hold the class folders of the training and of the test split; None if the latter is random."""
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder; image_folder needs one with a folder per class, or with train/ and test/"
        )
    if not (root / "train").is_dir():
        return root, None
    held = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if held is None:
        raise DataError(f"{root} has train/ but neither test/ nor val/; add one of them, with a folder per class")
    return root / "train", held


def _scan(
    folder: Path, skip_damaged: bool, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[Path], npt.NDArray[np.int64], tuple[Path, ...]]:
    """Class names, files, their labels (N,), and the damaged files that were left out."""
    names = _class_folders(folder, classes)
    classes = tuple(names) if classes is None else tuple(classes)
    paths: list[Path] = []
    labels: list[int] = []
    left_out: list[Path] = []
    for name in names:
        found = find_images(folder / name)
        if not found:
            raise DataError(_no_images(folder / name))
        damaged = find_damaged(found) if skip_damaged else {}
        left_out += [found[place] for place in damaged]
        whole = [path for place, path in enumerate(found) if place not in damaged]
        if not whole:
            raise DataError(f"{folder / name} has damaged images only; add whole images or remove the folder")
        paths += whole
        labels += [classes.index(name)] * len(whole)
    return classes, paths, np.asarray(labels, dtype=np.int64), tuple(left_out)


def _class_folders(folder: Path, classes: Sequence[str] | None) -> list[str]:
    """Sorted names of the class folders; all must be in `classes` if that is given."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{folder} has no folders; one per class is required")
    for name in names:
        if classes is not None and name not in classes:
            raise DataError(f"{folder / name} is a class that train/ does not have; {closest(name, list(classes))}")
    return names


def _has_image(folder: Path) -> bool:
    """Whether there is an image directly in a folder. Unlike `rglob`, it stops at the first of many thousands."""
    with os.scandir(folder) as entries:
        return any(is_image(Path(entry.path), folder) for entry in entries)


def _no_images(folder: Path) -> str:
    return f"{folder} has no images ({', '.join(sorted(IMAGE_SUFFIXES))}); add some or remove the folder"
