"""Pictures in folders, one folder per class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgemate.data.root import locate
from edgemate.data.seeding import Purpose
from edgemate.data.source import DataSource, FilePictures
from edgemate.data.splits import hold_out
from edgemate.errors import DataError
from edgemate.registry import closest

EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def image_folder(
    *,
    path: str,
    channels: Literal[1, 3] = 3,
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    test_seed: Annotated[int, Field(ge=0)] = 0,
) -> DataSource:
    """Pictures of any size in one folder per class; the folders' names are the classes.

    The class folders lie in train/ and in test/ (or val/, where there is no test/), or else right in the folder, in
    which case a test split is drawn. A class's pictures may lie in folders of their own below it; hidden ones are
    passed over.

    Args:
        path: the folder, from the current folder or from the data root.
        channels: 1 to turn the pictures grey, 3 for RGB.
        test_fraction: share of the pictures in the test split, by class, where it has to be drawn.
        test_seed: draws it.

    Raises:
        DataError: the folder is missing or not laid out so, a class has no pictures, or test/ has a class of its own.
    """
    root = locate(path)
    train, held = _split_folders(root)
    if held is None:
        classes, paths, labels = _scan(train)
        kept, out = hold_out(labels, test_fraction, Purpose.TEST_SPLIT, test_seed)
        return DataSource(
            name=f"image_folder {root}",
            classes=classes,
            channels=channels,
            train=FilePictures([paths[i] for i in kept], labels[kept], channels),
            test=FilePictures([paths[i] for i in out], labels[out], channels),
        )
    classes, train_paths, train_labels = _scan(train)
    _, test_paths, test_labels = _scan(held, classes)
    return DataSource(
        name=f"image_folder {root}",
        classes=classes,
        channels=channels,
        train=FilePictures(train_paths, train_labels, channels),
        test=FilePictures(test_paths, test_labels, channels),
    )


def check_image_folder(*, path: str, **_: Any) -> None:
    """Look whether the folder is laid out as `image_folder` needs it; of a class the first picture is enough.

    Raises:
        DataError: it is not.
    """
    train, held = _split_folders(locate(path))
    classes = _class_folders(train, None)
    folders = [train / name for name in classes]
    if held is not None:
        folders += [held / name for name in _class_folders(held, classes)]
    for folder in folders:
        if not _has_picture(folder) and not _pictures(folder.parent, folder.name):
            raise DataError(_no_pictures(folder))


def _split_folders(root: Path) -> tuple[Path, Path | None]:
    """Where the classes' folders of the training split lie, and those of the test split unless it has to be drawn."""
    if not root.is_dir():
        raise DataError(
            f"{root} is no folder; image_folder needs one with a folder per class, or with train/ and test/"
        )
    if not (root / "train").is_dir():
        return root, None
    held = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if held is None:
        raise DataError(f"{root} has train/ but neither test/ nor val/; add one, with a folder per class")
    return root / "train", held


def _scan(
    folder: Path, classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[Path], npt.NDArray[np.int64]]:
    names = _class_folders(folder, classes)
    classes = tuple(names) if classes is None else tuple(classes)
    paths: list[Path] = []
    labels: list[int] = []
    for name in names:
        found = _pictures(folder, name)
        if not found:
            raise DataError(_no_pictures(folder / name))
        paths += found
        labels += [classes.index(name)] * len(found)
    return classes, paths, np.asarray(labels, dtype=np.int64)


def _class_folders(folder: Path, classes: Sequence[str] | None) -> list[str]:
    """The names of the classes' folders, sorted; all must be among `classes`, where these are given."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{folder} has no folders; one per class is needed")
    for name in names:
        if classes is not None and name not in classes:
            raise DataError(f"{folder / name} is a class that train/ has not; {closest(name, list(classes))}")
    return names


def _pictures(folder: Path, name: str) -> list[Path]:
    return sorted(entry for entry in (folder / name).rglob("*") if _is_picture(entry, folder))


def _has_picture(folder: Path) -> bool:
    """Whether there is a picture right in a folder. Unlike `rglob`, it stops at the first of perhaps many thousands."""
    with os.scandir(folder) as entries:
        return any(_is_picture(Path(entry.path), folder) for entry in entries)


def _no_pictures(folder: Path) -> str:
    return f"{folder} has no pictures ({', '.join(sorted(EXTENSIONS))}); add some or remove it"


def _is_picture(entry: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in entry.relative_to(folder).parts)
    return not hidden and entry.suffix.lower() in EXTENSIONS and entry.is_file()
