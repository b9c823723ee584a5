"""Fashion-MNIST: gray images of clothes."""

from __future__ import annotations

from edgemate.data.datasets._torchvision import array_images, check_folder_of, load_splits
from edgemate.data.root import data_root
from edgemate.data.source import DataSource

CHANNELS = 1
"""Channels of the images, for what must know them before they are loaded."""


def fashion_mnist(*, root: str | None = None, download: bool = True) -> DataSource:
    """60,000 training and 10,000 test images of ten kinds of clothes, gray, 28 × 28 pixels (arXiv 1708.07747).

    Args:
        root: folder that holds FashionMNIST/raw; $EDGEMATE_DATA, else ~/.cache/edgemate/data, by default.
        download: download missing files through torchvision.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are damaged.
    """
    from torchvision.datasets import FashionMNIST

    train, test = load_splits("fashion_mnist", FashionMNIST, data_root(root), download)
    return DataSource(
        name="fashion_mnist",
        classes=tuple(train.classes),
        channels=1,
        train=array_images(train.data, train.targets),
        test=array_images(test.data, test.targets),
        size=(28, 28),
    )


def check_fashion_mnist(*, root: str | None = None, download: bool = True) -> None:
    """Check that the files exist, unless they may be downloaded. Raises DataError."""
    check_folder_of("fashion_mnist", data_root(root), "FashionMNIST/raw", download)
