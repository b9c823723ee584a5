"""Small made-up datasets, where a test is about the handling and not about the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgemate.config import Data
from edgemate.core.input_spec import InputSpec
from edgemate.data import PreparedData, build_data
from edgemate.data.input_plan import plan_input
from edgemate.data.source import ArrayImages, DataSource

_LOADING = ("batch_size", "workers", "seed", "progress")


def pixels(*shape: int, seed: int = 0) -> Any:
    """Random uint8 of that shape."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def array_source(n: int = 40, size: tuple[int, int] = (8, 8), channels: int = 3, classes: int = 4) -> DataSource:
    """`n` training and `n` test images, classes in turn."""
    labels = np.arange(n, dtype=np.int64) % classes
    return DataSource(
        name="toy",
        classes=tuple(f"class {k}" for k in range(classes)),
        channels=1 if channels == 1 else 3,
        train=ArrayImages(pixels(n, *size, channels), labels),
        test=ArrayImages(pixels(n, *size, channels, seed=1), labels),
        size=size,
    )


def input_spec(source: DataSource, **options: Any) -> InputSpec:
    """The input specification of a dataset under these options of a data section."""
    return plan_input(source, Data(name="toy", **options))


def prepare(name: str, **options: Any) -> PreparedData:
    """`build_data` of a data section with these options; batch_size, workers, seed and progress are its own."""
    loading = {key: options.pop(key) for key in _LOADING if key in options}
    return build_data(Data(name=name, **options), **loading)


def write_image(path: Path, size: tuple[int, int] = (20, 14), seed: int = 0) -> Path:
    """A random RGB image of that (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(size[1], size[0], 3, seed=seed)).save(path)
    return path


def write_folders(root: Path, classes: tuple[str, ...] = ("cat", "dog"), per_class: int = 4) -> Path:
    """One folder per class with PNG images of different sizes."""
    for k, name in enumerate(classes):
        for i in range(per_class):
            write_image(root / name / f"{i}.png", size=(20 + 3 * i, 30 - 2 * i), seed=10 * k + i)
    return root


def archive(path: Path, **changes: Any) -> Path:
    """An `.npz` for the dataset `arrays`, with some keys changed, or left out where the change is None."""
    content = {
        "x_train": pixels(12, 8, 8, 3),
        "y_train": np.arange(12) % 3,
        "x_test": pixels(6, 8, 8, 3),
        "y_test": np.arange(6) % 3,
        "classes": np.array(["a", "b", "c"]),
        **changes,
    }
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path
