"""Imagenette: ten classes of ImageNet that are easy to tell from each other (https://github.com/fastai/imagenette)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgemate.data.datasets._class_folders import class_folders, read_class_folders
from edgemate.data.datasets._official import Published, folders_in
from edgemate.data.root import data_root
from edgemate.data.source import DataSource

_CLASSES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
_PUBLISHED = Published(
    "imagenette",
    "imagenette",
    "train/<class>/*.JPEG and val/<class>/*.JPEG",
    "imagenette2.tgz, imagenette2-320.tgz or imagenette2-160.tgz (https://github.com/fastai/imagenette)",
)
# As the archives name their folder; the largest images first.
_FOLDERS = ("imagenette", "imagenette2", "imagenette2-320", "imagenette2-160")


def imagenette(*, root: str | None = None) -> DataSource:
    """9,469 training and 3,925 test images of ten classes, RGB, of different sizes.

    The official validation images are the test split. The folder is imagenette, imagenette2, imagenette2-320 or
    imagenette2-160, the first that exists. Class folders are named by WordNet's ids, as in the archives, or by the
    classes (`English_springer`); labels and class names are the same in both cases. The images are a part of
    ImageNet's, which flatters weights that were pretrained on it.

    Args:
        root: folder that holds imagenette; $EDGEMATE_DATA, else ~/.cache/edgemate/data, by default.

    Raises:
        DataError: files are missing, or a folder is of another class.
    """
    check_imagenette(root=root)
    folder, label_of = _folder(root), _label_of()
    return DataSource(
        name="imagenette",
        classes=tuple(_CLASSES.values()),
        channels=3,
        train=read_class_folders(folder / "train", label_of),
        test=read_class_folders(folder / "val", label_of),
    )


def check_imagenette(*, root: str | None = None) -> None:
    """Check that the files exist. Raises DataError."""
    here = replace(_PUBLISHED, folder=_folder(root).name)
    folder = here.located(root, "train", "val")
    for split in ("train", "val"):
        if not folders_in(folder / split):
            raise here.missing(root, f"{folder / split} has no class folders")
        class_folders(folder / split, _label_of())


def _label_of() -> dict[str, int]:
    """Every name that a class folder may have → label."""
    label_of: dict[str, int] = {}
    for label, (key, name) in enumerate(_CLASSES.items()):
        label_of |= dict.fromkeys((key, name, name.replace(" ", "_")), label)
    return label_of


def _folder(root: str | None) -> Path:
    places = [data_root(root) / name for name in _FOLDERS]
    return next((place for place in places if place.is_dir()), places[0])
