"""CIFAR-10 and CIFAR-100: small color photographs (Krizhevsky, "Learning Multiple Layers of Features", 2009)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgemate.data.datasets._torchvision import array_images, check_folder_of, load_splits
from edgemate.data.datasets.arrays import read_source
from edgemate.data.root import data_root
from edgemate.data.source import DataSource

_ARCHIVE = "cifar100.npz"


def cifar10(*, root: str | None = None, download: bool = True) -> DataSource:
    """50,000 training and 10,000 test images of ten classes, RGB, 32 × 32 pixels.

    Args:
        root: folder that holds cifar-10-batches-py; $EDGEMATE_DATA, else ~/.cache/edgemate/data, by default.
        download: download missing files through torchvision, which checks their MD5 at each use.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are damaged.
    """
    from torchvision.datasets import CIFAR10

    return _from_torchvision("cifar10", CIFAR10, data_root(root), download)


def cifar100(*, root: str | None = None, download: bool = True) -> DataSource:
    """50,000 training and 10,000 test images of a hundred classes, RGB, 32 × 32 pixels.

    Args:
        root: folder that holds cifar100.npz (as dataset `arrays` takes it) or cifar-100-python; $EDGEMATE_DATA, else
            ~/.cache/edgemate/data, by default.
        download: download the files through torchvision, which checks their MD5 at each use, if both are missing.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are damaged.
    """
    folder = data_root(root)
    archive = folder / _ARCHIVE
    if archive.is_file():
        return read_source(archive, "cifar100")

    from torchvision.datasets import CIFAR100

    return _from_torchvision("cifar100", CIFAR100, folder, download)


def check_cifar10(*, root: str | None = None, download: bool = True) -> None:
    """Check that the files exist, unless they may be downloaded. Raises DataError."""
    check_folder_of("cifar10", data_root(root), "cifar-10-batches-py", download)


def check_cifar100(*, root: str | None = None, download: bool = True) -> None:
    """Check that the files exist, unless they may be downloaded. Raises DataError."""
    folder = data_root(root)
    if not (folder / _ARCHIVE).is_file():
        check_folder_of("cifar100", folder, "cifar-100-python", download, other=_ARCHIVE)


def _from_torchvision(name: str, factory: Callable[..., Any], root: Path, download: bool) -> DataSource:
    train, test = load_splits(name, factory, root, download)
    return DataSource(
        name=name,
        classes=tuple(train.classes),
        channels=3,
        train=array_images(train.data, train.targets),
        test=array_images(test.data, test.targets),
        size=(32, 32),
    )
