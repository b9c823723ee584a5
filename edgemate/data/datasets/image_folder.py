"""Images in folders, one folder per class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from edgemate.core.image_search import IMAGE_SUFFIXES, class_folders, class_name, kinds_of, walk
from edgemate.data.datasets._file_splits import (
    SPLIT_NAMES,
    LabeledFiles,
    RandomTest,
    SplitName,
    require_enough,
    source_of_files,
)
from edgemate.data.root import locate
from edgemate.data.source import DataSource
from edgemate.errors import DataError
from edgemate.registry import closest

_ENOUGH = 3
"""Images of a class that the check looks for: one each for training, calibration and test."""
_NAMED = 5


def image_folder(
    *,
    path: str,
    channels: Literal[1, 3] = 3,
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    test_seed: Annotated[int, Field(ge=0)] = 0,
) -> DataSource:
    """Images of any size in one folder per class; the folders' names are the classes.

    The class folders are in train/, with or without val/ and test/, or directly in the folder. With train/ and test/,
    val/ is the calibration split; without test/, val/ is the test split; without both, the test split is random.
    Images are also found in subfolders of a class. Hidden files and folders, and files that are no images, are ignored
    and counted.

    Args:
        path: the folder, relative to the current folder or to the data root.
        channels: 1 to convert to gray, 3 for RGB.
        test_fraction: of the images, for a random test split, stratified by class.
        test_seed: of a random test split.

    Raises:
        DataError: the folder is missing or has another layout, there is one class only, a class has no images, or
            val/ or test/ has a class that train/ does not have.
    """
    root = locate(path)
    found = _read(root, None)
    splits = {
        split: LabeledFiles(
            [path for paths in images.values() for path in paths],
            np.repeat(
                np.array([found.classes.index(name) for name in images], dtype=np.int64),
                [len(paths) for paths in images.values()],
            ),
        )
        for split, images in found.splits.items()
    }
    return source_of_files(
        f"image_folder {root}",
        found.classes,
        channels,
        splits,
        RandomTest(test_fraction, test_seed),
        tuple(sorted(found.ignored)),
    )


def check_image_folder(*, path: str, **_: Any) -> None:
    """Check that the folder has the layout, the classes and the images that `image_folder` needs.

    Of every class, no more images than necessary are looked for.

    Raises:
        DataError: it does not.
    """
    root = locate(path)
    found = _read(root, _ENOUGH)
    largest = max(map(len, found.splits["train"].values()))
    require_enough(f"image_folder {root}", found.classes, largest, found.splits, to_train=True)


@dataclass(frozen=True, eq=False)
class _Found:
    """Classes, sorted; per split, class → its images; and what was ignored."""

    classes: tuple[str, ...]
    splits: dict[SplitName, dict[str, list[Path]]]
    ignored: list[Path]


def _read(root: Path, most: int | None) -> _Found:
    """What a folder has; of every class, only the first `most` images that come, if that is given."""
    folders, ignored = _split_folders(root)
    splits: dict[SplitName, dict[str, list[Path]]] = {}
    for split, folder in folders.items():
        named = _class_folders(folder, list(splits["train"]) if splits else None)
        inside = {name: _images(class_folder, most) for name, class_folder in named.items()}
        known = set(named.values())
        ignored += [entry for entry in folder.iterdir() if entry not in known]
        if empty := [name for name, (images, _) in inside.items() if not images]:
            raise DataError(_without_images(folder, [named[name] for name in empty], len(named), inside[empty[0]][1]))
        splits[split] = {name: images for name, (images, _) in inside.items()}
        ignored += [other for _, others in inside.values() for other in others]
        if split == "train" and len(named) == 1:
            _require_no_dataset_in(*named.values())
    return _Found(tuple(splits["train"]), splits, ignored)


def _split_folders(root: Path) -> tuple[dict[SplitName, Path], list[Path]]:
    """The folder of each split, train first, and what else is beside them; the folder itself if it has no train/."""
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder; image_folder needs one with a folder per class, or with train/ and test/ "
            "(for a table of images: data.name=image_table)"
        )
    inside = class_folders(root)
    found: dict[SplitName, Path] = {}
    for folder in inside:
        split = SPLIT_NAMES.get(folder.name.casefold())
        if split is None:
            continue
        if split in found:
            raise DataError(f"{root} has {found[split].name}/ and {folder.name}/, both for {split}; keep one of them")
        found[split] = folder
    if "train" not in found:
        if found and len(found) == len(inside):
            names = " and ".join(f"{folder.name}/" for folder in found.values())
            raise DataError(f"{root} has {names} but no train/; add it, with a folder per class")
        return {"train": root}, []
    folders = {split: found[split] for split in ("train", "val", "test") if split in found}
    return folders, [entry for entry in root.iterdir() if entry not in set(found.values())]


def _class_folders(folder: Path, classes: Sequence[str] | None) -> dict[str, Path]:
    """Class name → folder, sorted by name; all must be in `classes` if that is given."""
    found: dict[str, Path] = {}
    for entry in class_folders(folder):
        name = class_name(entry)
        if not _is_unicode(name):
            raise DataError(f"{folder} has a folder {os.fsencode(name)!r}, which is not UTF-8; rename it")
        if name in found:
            raise DataError(f"{folder} has two folders {name!r}, in different Unicode forms; merge them")
        found[name] = entry
    if not found:
        loose = any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in folder.iterdir())
        what = "images but no folders" if loose else "no folders"
        raise DataError(f"{folder} has {what}; one per class is required{_remedy(folder) if loose else ''}")
    for name in found:
        if classes is not None and name not in classes:
            near = closest(name, list(classes))
            raise DataError(
                f"{found[name]} is a class that train/ does not have; add its images to train/ or remove the folder"
                + (f" ({near})" if near.endswith("?") else "")
            )
    return dict(sorted(found.items()))


def _is_unicode(name: str) -> bool:
    """Whether a name can be written; the bytes of one that is not UTF-8 are lone surrogates in Python."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _images(folder: Path, most: int | None) -> tuple[list[Path], list[Path]]:
    """The images in a class folder, sorted, and what else is there."""
    images: list[Path] = []
    others: list[Path] = []
    for path, image in walk(folder):
        (images if image else others).append(path)
        if image and len(images) == most:
            break
    return sorted(images), others


def _without_images(folder: Path, empty: Sequence[Path], classes: int, others: Sequence[Path]) -> str:
    suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
    if len(empty) == 1:
        found = f", but {kinds_of(others)}" if others else ""
        return f"{empty[0]} has no images{found}; add some ({suffixes}) or remove the folder"
    if len(empty) == classes:
        return f"{folder} has no images in its {classes:,} folders; add some ({suffixes}), in a folder per class"
    names = ", ".join(str(path.name) for path in empty[:_NAMED]) + (" …" if len(empty) > _NAMED else "")
    return (
        f"{folder} has no images in {len(empty):,} of {classes:,} class folders ({names}); "
        f"add some ({suffixes}) or remove the folders"
    )


def _remedy(folder: Path) -> str:
    if folder.name.casefold() in SPLIT_NAMES:
        return f"; move its images into class folders, or, if they have no labels, move {folder.name}/ elsewhere"
    return "; move its images into class folders, or name their labels in a table (data.name=image_table)"


def _require_no_dataset_in(only: Path) -> None:
    """Refuse a dataset's only class folder if the class folders, or the splits, seem to be in it."""
    if inside := class_folders(only):
        raise DataError(
            f"{only.parent} has one class only ({only.name}); a classifier needs two or more; if the folders in {only} "
            f"({inside[0].name} …) are the classes or splits, set data.options.path to it"
        )
