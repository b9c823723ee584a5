"""Tiny ImageNet: 200 classes of ImageNet at 64 × 64 pixels (Stanford's course CS231n)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgemate.data.datasets._class_folders import class_folders, read_class_folders
from edgemate.data.datasets._official import FileNames, Published, folders_in, rows
from edgemate.data.datasets._synsets import readable
from edgemate.data.source import DataSource, FileImages
from edgemate.errors import DataError

_PUBLISHED = Published(
    "tiny_imagenet",
    "tiny-imagenet-200",
    "words.txt, train/<id>/images/*.JPEG, val/val_annotations.txt and val/images/*.JPEG",
    "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
)
_ANNOTATIONS = "val/val_annotations.txt"


def tiny_imagenet(*, root: str | None = None) -> DataSource:
    """100,000 training and 10,000 test images of 200 classes, RGB, 64 × 64 pixels.

    The official validation images are the test split, as is usual: the labels of the official test images are not
    published. Classes are in the order of their WordNet ids; their names are from words.txt. A val/ that was sorted
    into class folders, val/<id>/images/ or val/<id>/, is read, too.

    Args:
        root: folder that holds tiny-imagenet-200; $EDGEMATE_DATA, else ~/.cache/edgemate/data, by default.

    Raises:
        DataError: files are missing, or an annotation cannot be read.
    """
    check_tiny_imagenet(root=root)
    folder = _PUBLISHED.located(root)
    label_of = _label_of(folder)
    words = dict(rows(folder / "words.txt", "ID WORDS", "\t"))
    if (folder / _ANNOTATIONS).is_file():
        test = _annotated(folder, label_of)
    else:
        test = read_class_folders(folder / "val", label_of, "images")
    return DataSource(
        name="tiny_imagenet",
        classes=readable(list(label_of), words),
        channels=3,
        train=read_class_folders(folder / "train", label_of, "images"),
        test=test,
        size=(64, 64),
    )


def check_tiny_imagenet(*, root: str | None = None) -> None:
    """Check that the files exist. Raises DataError."""
    folder = _PUBLISHED.located(root, "words.txt", "train", "val")
    if not folders_in(folder / "train"):
        raise _PUBLISHED.missing(root, f"{folder / 'train'} has no class folders")
    val = folder / "val"
    if not (folder / _ANNOTATIONS).is_file():
        if not [name for name in folders_in(val) if name != "images"]:
            raise _PUBLISHED.missing(root, f"{folder / _ANNOTATIONS} is missing")
        class_folders(val, _label_of(folder))
    elif not (val / "images").is_dir():
        raise _PUBLISHED.missing(root, f"{val / 'images'} is missing")


def _label_of(folder: Path) -> dict[str, int]:
    """WordNet id → label, by the class folders of train/."""
    return {key: label for label, key in enumerate(folders_in(folder / "train"))}


def _annotated(folder: Path, label_of: Mapping[str, int]) -> FileImages:
    path = folder / _ANNOTATIONS
    names, labels = [], []
    for name, key, _box in rows(path, "FILE ID BOX"):
        if key not in label_of:
            raise DataError(f"{path}: {name} is of class {key}, which has no folder in {folder / 'train'}")
        names.append(name)
        labels.append(label_of[key])
    return FileImages(FileNames(folder / "val" / "images", names), np.asarray(labels, dtype=np.int64), 3)
