"""Images and labels in one `.npz` file: the simplest way to use your own data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgemate.array_files import ArrayArchive, open_arrays
from edgemate.data.root import locate
from edgemate.data.source import ArrayImages, DataSource
from edgemate.errors import DataError

Array = npt.NDArray[Any]
Result = TypeVar("Result")
_MAX_UNNAMED = 1 << 20
"""Labels without `classes` number the classes; beyond this they are something else, such as IDs."""


def arrays(*, path: str) -> DataSource:
    """The images of an `.npz` file.

    Its keys: `x_train` and `x_test`, uint8 (N, H, W) or (N, H, W, C) with C = 1 or 3, all of one size; `y_train` and
    `y_test`, integers (N,) from 0; and optionally `classes`, strings (K,), "0", "1" … by default.

    Args:
        path: the file, relative to the current folder or to the data root.

    Raises:
        DataError: the file is missing or not such a file; the message names the key.
    """
    return read_source(locate(path), "arrays")


def check_arrays(*, path: str) -> None:
    """Check that the file exists and has the keys that `arrays` needs. Raises DataError."""
    located = locate(path)
    _open(located, lambda archive: _require_keys(located, archive))


def channels_arrays(*, path: str) -> int:
    """Channels of the images, 1 or 3, by the header of `x_train`. Raises DataError."""
    located = locate(path)

    def shape(archive: ArrayArchive) -> tuple[int, ...]:
        _require_keys(located, archive)
        return archive.header("x_train").shape

    found = _open(located, shape)
    return 1 if len(found) == 3 or found[3:] == (1,) else 3


def read_source(path: Path, name: str) -> DataSource:
    """Read the dataset in an `.npz` file with the keys of `arrays`. Raises DataError."""
    found = _read(path)
    train = ArrayImages(_images(path, "x_train", found), _labels(path, "y_train", found))
    test = ArrayImages(_images(path, "x_test", found), _labels(path, "y_test", found))
    if train.array.shape[1:] != test.array.shape[1:]:
        raise DataError(
            f"{path}: x_train holds images of shape {train.array.shape[1:]}, x_test of {test.array.shape[1:]}; "
            "(H, W, C) must be the same"
        )
    height, width, channels = train.array.shape[1:]
    return DataSource(
        name=name,
        classes=_classes(path, found),
        channels=1 if channels == 1 else 3,
        train=train,
        test=test,
        size=(height, width),
    )


def _read(path: Path) -> dict[str, Array]:
    return _open(path, lambda archive: _members(path, archive))


def _open(path: Path, use: Callable[[ArrayArchive], Result]) -> Result:
    try:
        with open_arrays(path) as archive:
            return use(archive)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as .npz ({_reason(error)}); write it with numpy.savez") from error


def _require_keys(path: Path, archive: ArrayArchive) -> None:
    for key in ("x_train", "y_train", "x_test", "y_test"):
        if key not in archive.names:
            has = ", ".join(sorted(archive.names)) or "nothing"
            raise DataError(f"{path}: {key} is missing; x_train, y_train, x_test and y_test are required, found {has}")


def _members(path: Path, archive: ArrayArchive) -> dict[str, Array]:
    _require_keys(path, archive)
    found: dict[str, Array] = {}
    for key in ("x_train", "y_train", "x_test", "y_test", "classes"):
        if key in archive.names:
            try:
                found[key] = archive.read(key)
            except ValueError as error:
                reason = _reason(error).removeprefix(f"{key}: ")
                raise DataError(f"{path}: {key} cannot be read ({reason}); write the file again") from error
    return found


def _images(path: Path, key: str, found: dict[str, Array]) -> npt.NDArray[np.uint8]:
    array = found[key]
    if array.dtype != np.uint8:
        raise DataError(f"{path}: {key} is {array.dtype}; images must be uint8, 0 to 255")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise DataError(
            f"{path}: {key} has shape {found[key].shape}; (N, H, W), (N, H, W, 1) or (N, H, W, 3) is required"
        )
    return array


def _labels(path: Path, key: str, found: dict[str, Array]) -> npt.NDArray[np.int64]:
    array, images = found[key], key.replace("y_", "x_")
    if array.dtype.kind not in "iu":
        raise DataError(f"{path}: {key} is {array.dtype}; labels must be integers")
    if array.shape != (len(found[images]),):
        raise DataError(f"{path}: {key} has shape {array.shape}; ({len(found[images])},) is required for {images}")
    highest = len(found["classes"]) - 1 if "classes" in found and found["classes"].ndim == 1 else None
    low, high = int(array.min()), int(array.max())
    if low < 0 or (highest is not None and high > highest):
        allowed = "be 0 or more" if highest is None else f"be from 0 to {highest}, one per entry of classes"
        raise DataError(f"{path}: {key} has labels from {low} to {high}; labels must {allowed}")
    if highest is None and high >= _MAX_UNNAMED:
        raise DataError(f"{path}: {key} has the label {high}; number the classes from 0, or name them in classes")
    return array.astype(np.int64)


def _classes(path: Path, found: dict[str, Array]) -> tuple[str, ...]:
    if "classes" not in found:
        return tuple(str(k) for k in range(int(max(found["y_train"].max(), found["y_test"].max())) + 1))
    array = found["classes"]
    if array.dtype.kind != "U" or array.ndim != 1:
        raise DataError(f"{path}: classes is {array.dtype} of shape {array.shape}; strings of shape (K,) are required")
    names = tuple(array.tolist())
    if len(set(names)) != len(names):
        raise DataError(f"{path}: classes has a name twice; class names must be unique")
    return names


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
