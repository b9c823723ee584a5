"""The files of cached features: one array per cut and part, memory-mapped, and a manifest of the parts that are whole.

A part is `calibration` (one plain view of that split) or `view_<v>` (an augmented view of the training split).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate import files
from edgemate.errors import TrainingError

CALIBRATION = "calibration"
Array = npt.NDArray[np.floating]


def view_name(view: int) -> str:
    """Name of the part that holds an augmented view, which is counted from 0."""
    return f"view_{view}"


@dataclass
class FeatureCache:
    """A folder of cached features, which belongs to one key.

    Attributes:
        path: the folder.
        shapes: per cut the shape of one image's features.
        dtypes: per cut `float16`, or `float32` where the features leave float16's range.
        seconds: part → how long it took to compute. Only parts that are whole are in it.
    """

    path: Path
    shapes: tuple[tuple[int, ...], ...]
    dtypes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reset(self.dtypes or ["float16"] * len(self.shapes))
        self.reload()

    def reset(self, dtypes: Sequence[str]) -> None:
        """Forget all parts, and store the features in these types from now on. Files stay until they are replaced."""
        self.dtypes, self.seconds = list(dtypes), {}

    def reload(self) -> None:
        """Read which parts are whole. A manifest or an array that does not fit counts as absent."""
        try:
            stored = json.loads((self.path / "cache.json").read_text(encoding="utf-8"))
            fits = stored["shapes"] == [list(shape) for shape in self.shapes]
            dtypes, seconds = [str(np.dtype(one)) for one in stored["dtypes"]], dict(stored["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if fits and len(dtypes) == len(self.shapes):
            self.dtypes = dtypes
            self.seconds = {part: float(taken) for part, taken in seconds.items() if self._is_whole(part)}

    def image_bytes(self) -> int:
        """Bytes that the features of one image take."""
        sizes = (int(np.prod(shape)) for shape in self.shapes)
        return sum(size * np.dtype(dtype).itemsize for size, dtype in zip(sizes, self.dtypes, strict=True))

    def create(self, part: str, images: int) -> list[Array]:
        """Empty arrays (images, ...) per cut, on disk and writable. Raises TrainingError where the disk is full."""
        self.seconds.pop(part, None)
        arrays: list[Array] = []
        for k, (shape, dtype) in enumerate(zip(self.shapes, self.dtypes, strict=True), 1):
            path = self._file(part, k)
            # Deleted and not truncated: another training may have the old file mapped.
            path.unlink(missing_ok=True)
            array = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=(images, *shape))
            _reserve(path, self.path)
            arrays.append(array)
        return arrays

    def finish(self, part: str, arrays: Sequence[Array], seconds: float) -> None:
        """Write the part to the disk and note that it is whole."""
        for array in arrays:
            assert isinstance(array, np.memmap)
            array.flush()
        self.seconds[part] = seconds
        content: dict[str, Any] = {"shapes": self.shapes, "dtypes": self.dtypes, "seconds": self.seconds}
        files.write_json(self.path / "cache.json", content)

    def arrays(self, part: str) -> list[Array]:
        """Per cut the features of a part, (N, ...), read-only and memory-mapped."""
        return [np.load(self._file(part, k), mmap_mode="r") for k in range(1, len(self.shapes) + 1)]

    @contextmanager
    def locked(self, wait: Callable[[], None]) -> Iterator[None]:
        """Keep other processes from writing this folder. `wait` is called before waiting for one that does."""
        with (self.path / ".lock").open("w") as handle:
            try:
                import fcntl
            except ImportError:  # Windows, where a folder is best not shared
                yield
                return
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                wait()
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _file(self, part: str, cut: int) -> Path:
        return self.path / f"{part}_exit{cut}.npy"

    def _is_whole(self, part: str) -> bool:
        try:
            arrays = self.arrays(part)
        except (OSError, ValueError, EOFError):
            return False
        return all(
            array.shape[1:] == shape and array.dtype == dtype
            for array, shape, dtype in zip(arrays, self.shapes, self.dtypes, strict=True)
        )


def require_space(path: Path, needed: int) -> None:
    """Raise TrainingError unless the disk of an existing folder has that many bytes free."""
    free = shutil.disk_usage(path).free
    if needed > free:
        raise TrainingError(
            f"training.cache_dir: the cached features take {gigabytes(needed)} and {path} has {gigabytes(free)} free; "
            "name a folder on another disk, lower training.cache_augmentations, or set it to 0 for no cache"
        )


def gigabytes(size: int) -> str:
    """A size in bytes with its unit, such as `1.25 GB` and `40 MB`."""
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def _reserve(path: Path, folder: Path) -> None:
    """Take the disk space of a file now: writing a mapped file to a full disk would end the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with path.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return  # not every file system can
        raise TrainingError(
            f"training.cache_dir: there is no space left in {folder} for the cached features; name a folder on another "
            "disk, or lower training.cache_augmentations"
        ) from error
