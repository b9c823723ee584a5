"""Real data that lies on some machines: tests that need it are skipped, with the reason, where it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_PLACES = {
    "fashion_mnist": "FashionMNIST/raw",
    "cifar100": "cifar100.npz",
    "imagenette": "imagenette",
    "trashnet": "trashnet",
    "efficientnet_lite0": "weights/tf_efficientnet_lite0.safetensors",
}


def require(name: str) -> Path:
    """The data root, if it holds `name`; else the test is skipped."""
    root = os.environ.get("EDGEMATE_DATA")
    if not root or not (Path(root) / _PLACES[name]).exists():
        pytest.skip(f"EDGEMATE_DATA is not set to a folder with {_PLACES[name]}")
    return Path(root)
