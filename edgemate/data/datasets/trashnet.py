"""TrashNet: photographs of waste (Thung and Yang, https://github.com/garythung/trashnet)."""

from __future__ import annotations

from edgemate.data.datasets._class_folders import class_folders, read_class_folders
from edgemate.data.datasets._official import Published, folders_in
from edgemate.data.seeding import Purpose
from edgemate.data.source import DataSource, FileImages
from edgemate.data.splits import hold_out

_CLASSES = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
_LABEL_OF = {name: label for label, name in enumerate(_CLASSES)}
_PUBLISHED = Published(
    "trashnet",
    "trashnet",
    f"train/<class>/*.jpg and test/<class>/*.jpg, or <class>/*.jpg without splits (the classes are "
    f"{', '.join(_CLASSES)})",
    "dataset-resized.zip (https://github.com/garythung/trashnet)",
)
_TEST_FRACTION = 0.2


def trashnet(*, root: str | None = None) -> DataSource:
    """2,527 images of six kinds of waste, RGB, not balanced: 137 of trash, 594 of paper.

    There is no official split. Where the folder has train/ and test/, these are used; where it has the class folders,
    as in the archive, a fifth of the images is the test split (505), by class and the same on every machine.

    Args:
        root: folder that holds trashnet; $EDGEMATE_DATA, else ~/.cache/edgemate/data, by default.

    Raises:
        DataError: files are missing, or a folder is of another class.
    """
    check_trashnet(root=root)
    folder = _PUBLISHED.located(root)
    if (folder / "train").is_dir():
        train, test = (read_class_folders(folder / split, _LABEL_OF) for split in ("train", "test"))
    else:
        train, test = _split(read_class_folders(folder, _LABEL_OF))
    return DataSource(name="trashnet", classes=_CLASSES, channels=3, train=train, test=test)


def check_trashnet(*, root: str | None = None) -> None:
    """Check that the files exist. Raises DataError."""
    folder = _PUBLISHED.located(root)
    if (folder / "train").is_dir():
        _PUBLISHED.located(root, "test")
        places = [folder / "train", folder / "test"]
    else:
        places = [folder]
    for place in places:
        if not folders_in(place):
            raise _PUBLISHED.missing(root, f"{place} has no class folders")
        class_folders(place, _LABEL_OF)


def _split(images: FileImages) -> tuple[FileImages, FileImages]:
    kept, held = hold_out(images.labels, _TEST_FRACTION, Purpose.TEST_SPLIT, seed=0)
    train, test = (FileImages([images.paths[i] for i in part], images.labels[part], 3) for part in (kept, held))
    return train, test
