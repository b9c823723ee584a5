"""ImageNet: the 1,000 classes of ILSVRC 2012 (Russakovsky et al., arXiv 1409.0575)."""

from __future__ import annotations

from pathlib import Path

from edgemate.data.datasets._class_folders import class_folders, read_class_folders
from edgemate.data.datasets._imagenet_labels import flat_validation, has_labels, synset_words
from edgemate.data.datasets._official import Published, folders_in
from edgemate.data.datasets._synsets import readable
from edgemate.data.source import DataSource
from edgemate.errors import DataError

_PUBLISHED = Published(
    "imagenet",
    "imagenet",
    "train/<id>/*.JPEG and val/<id>/*.JPEG, or all of val/*.JPEG with ILSVRC2012_devkit_t12/ beside, or the folders of "
    "Kaggle's archive (ILSVRC/ and LOC_val_solution.csv)",
    "ILSVRC 2012 (https://image-net.org/challenges/LSVRC/2012/, after registration, or Kaggle's "
    "imagenet-object-localization-challenge)",
)
_KAGGLE = "ILSVRC/Data/CLS-LOC"


def imagenet(*, root: str | None = None) -> DataSource:
    """1,281,167 training and 50,000 test images of 1,000 classes, RGB, of different sizes.

    The official validation images are the test split, as is usual: the labels of the official test images are not
    published. They are in class folders, or all in val/ with their labels from the development kit (read with SciPy) or
    from Kaggle's LOC_val_solution.csv. Classes are in the order of their WordNet ids, as in pretrained networks. Their
    names are from the development kit's meta.mat, LOC_synset_mapping.txt or a words.txt (id, tab, words); without one,
    they are the ids. A selection of the classes is read, too, if train/ and val/ agree on it.

    Args:
        root: folder that holds imagenet; $EDGEMATE_DATA, else ~/.cache/edgemate/data, by default.

    Raises:
        DataError: files are missing, a list is damaged, or train/ and val/ differ in their classes.
    """
    check_imagenet(root=root)
    folder = _PUBLISHED.located(root)
    images = _images(folder)
    label_of, val = _label_of(images), images / "val"
    test = read_class_folders(val, label_of) if folders_in(val) else flat_validation(folder, val, label_of)
    return DataSource(
        name="imagenet",
        classes=readable(list(label_of), synset_words(folder)),
        channels=3,
        train=read_class_folders(images / "train", label_of),
        test=test,
    )


def check_imagenet(*, root: str | None = None) -> None:
    """Check that the files exist. Raises DataError."""
    folder = _PUBLISHED.located(root)
    images = _images(folder)
    for split in ("train", "val"):
        if not (images / split).is_dir():
            raise _PUBLISHED.missing(root, f"{images / split} is missing")
    if not folders_in(images / "train"):
        packed = next((images / "train").glob("*.tar"), None)
        if packed is not None:
            raise DataError(f"{packed}: is packed; unpack it, as every .tar file there, into a folder of the same name")
        raise _PUBLISHED.missing(root, f"{images / 'train'} has no class folders")
    if folders_in(images / "val"):
        class_folders(images / "val", _label_of(images))
    elif not has_labels(folder):
        raise _PUBLISHED.missing(root, f"{images / 'val'} has no class folders and there are no labels for its images")


def _label_of(images: Path) -> dict[str, int]:
    """Synset id → label, by the class folders of train/."""
    return {key: label for label, key in enumerate(folders_in(images / "train"))}


def _images(folder: Path) -> Path:
    """The folder that holds train/ and val/."""
    kaggle = folder / _KAGGLE
    return kaggle if kaggle.is_dir() else folder
