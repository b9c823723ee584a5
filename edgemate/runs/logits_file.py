"""The file of a split's logits and labels: an `.npz`, which is written and read in pieces where the split is large.

- Up to `MAPPED_FROM` bytes in float32: compressed, and read into memory.
- Above: not compressed. Batches are written as they come, and reading maps the logits from the file.
- Above `HALF_FROM` bytes in float32: the same in float16, which halves the file. Numbers outside of float16's range
  become the nearest in it; infinite ones and NaN stay what they are.

`numpy.load` reads all three.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate import files
from edgemate.array_files import ArrayArchive, open_arrays
from edgemate.durable import whole_file

Array = npt.NDArray[Any]

MAPPED_FROM = 64 << 20
HALF_FROM = 1 << 30

_LOGITS = "logits"
_LARGEST_HALF = float(np.finfo(np.float16).max)


def write_logits_file(path: Path, batches: Iterable[tuple[Array, Array]], images: int) -> None:
    """Write logits and labels, atomically, without holding all of them in memory where the split is large.

    Args:
        path: the file.
        batches: logits float32 (n, K, C) and labels int64 (n,), in order.
        images: N, the number of images in all batches together.

    Raises:
        ValueError: there are none, or not as many as `images`.
        OSError: it cannot be written; its `filename` is `path`.
    """
    stream = iter(batches)
    first = next(stream, None)
    if first is None or not images:
        raise ValueError("no images")
    rest = _chained(first, stream)
    size = 4 * images * int(np.prod(first[0].shape[1:]))
    if size > MAPPED_FROM:
        _stream(path, rest, (images, *first[0].shape[1:]), np.float16 if size > HALF_FROM else np.float32)
        return
    parts = list(rest)
    logits, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    _check_count(len(logits), images)
    files.write_arrays(path, {"logits": logits, "labels": labels})


def read_logits_file(path: Path, names: Collection[str] = ("logits", "labels")) -> dict[str, Array]:
    """The arrays of the file with these names; `logits` read-only and mapped if they are not compressed.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    with open_arrays(path) as archive:
        return {name: _read(archive, name, path) for name in archive.names if name in names}


def _chained(first: tuple[Array, Array], rest: Iterable[tuple[Array, Array]]) -> Iterable[tuple[Array, Array]]:
    yield first
    yield from rest


def _check_count(found: int, images: int) -> None:
    if found != images:
        raise ValueError(f"{found} images, not {images}")


def _stream(path: Path, batches: Iterable[tuple[Array, Array]], shape: tuple[int, ...], dtype: type[Any]) -> None:
    """Write members without compression: their content lies in the file as it will be mapped."""
    with whole_file(path) as target, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        labels = _write_logits(archive, batches, shape, dtype)
        with archive.open(zipfile.ZipInfo("labels.npy"), "w") as member:
            np.lib.format.write_array(member, labels, allow_pickle=False)


def _write_logits(
    archive: zipfile.ZipFile, batches: Iterable[tuple[Array, Array]], shape: tuple[int, ...], dtype: type[Any]
) -> Array:
    labels: list[Array] = []
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with archive.open(zipfile.ZipInfo(f"{_LOGITS}.npy"), "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for logits, of_batch in batches:
            if logits.shape[1:] != shape[1:]:
                raise ValueError(f"logits {logits.shape} among logits (n, {shape[1]}, {shape[2]})")
            member.write(np.ascontiguousarray(_as(logits, dtype)).tobytes())
            labels.append(of_batch)
    _check_count(sum(map(len, labels)), shape[0])
    return np.concatenate(labels)


def _as(logits: Array, dtype: type[Any]) -> Array:
    if dtype is not np.float16:
        return logits.astype(dtype, copy=False)
    with np.errstate(over="ignore"):
        half = logits.astype(np.float16)
    if np.isinf(half).any():
        rounded = np.clip(logits, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)
        half = np.where(np.isinf(logits), half, rounded)
    return half


def _read(archive: ArrayArchive, name: str, path: Path) -> Array:
    """An array; the logits mapped where the file has them as they are in memory."""
    header, offset = archive.header(name), archive.offset(name)
    if name != _LOGITS or offset is None or header.fortran_order or not header.shape or not all(header.shape):
        return archive.read(name)
    mapped: Array = np.memmap(path, dtype=header.dtype, mode="r", offset=offset, shape=header.shape)
    return mapped
