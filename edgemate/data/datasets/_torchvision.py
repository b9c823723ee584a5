"""Torchvision's datasets as DataSource, with one error for all their ways to fail."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgemate.data.source import ArrayImages
from edgemate.errors import DataError

_ORIGINS = {
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "cifar100": "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    "fashion_mnist": "https://github.com/zalandoresearch/fashion-mnist",
}


def load_splits(name: str, factory: Callable[..., Any], root: Path, download: bool) -> tuple[Any, Any]:
    """The training and the test set of a torchvision dataset class.

    Raises:
        DataError: the files are missing under `root` and cannot be downloaded, or are damaged.
    """
    try:
        with warnings.catch_warnings():
            # CIFAR's archive of 2009 spells a dtype in a way that NumPy deprecates.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align")
            return factory(root=root, train=True, download=download), factory(root=root, train=False, download=download)
    except Exception as error:  # torchvision passes on whatever the network, an archive or a parser raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(_not_loaded(name, root, reason, download)) from error


def check_folder_of(name: str, root: Path, folder: str, download: bool, other: str | None = None) -> None:
    """Check that `root` has the folder that torchvision reads, unless it may be downloaded.

    Args:
        name: of the dataset.
        root: as the dataset's option, or the data root.
        folder: that torchvision reads, below `root`.
        download: whether it may be downloaded.
        other: a file that would do instead, for the message.

    Raises:
        DataError: the folder is missing and `download` is False.
    """
    beside = "" if other is None else f" and no {other} beside it"
    if not download and not (root / folder).is_dir():
        raise DataError(_not_loaded(name, root, f"there is no folder {root / folder}{beside}", download))


def _not_loaded(name: str, root: Path, reason: str, download: bool) -> str:
    allow = "let this machine reach the network" if download else "allow data.options.download"
    return (
        f"dataset {name} cannot be loaded from {root} ({reason}); "
        f"set data.options.root or EDGEMATE_DATA to a folder that holds it (from {_ORIGINS[name]}), or {allow}"
    )


def array_images(images: Any, labels: Any) -> ArrayImages:
    """Images uint8 (N, H, W) or (N, H, W, C) and labels (N,) of a torchvision dataset."""
    array = np.asarray(images, dtype=np.uint8)
    if array.ndim == 3:
        array = array[..., None]
    return ArrayImages(array, np.asarray(labels, dtype=np.int64))
