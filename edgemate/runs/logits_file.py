"""The file of a split's logits and labels: an `.npz`, which is written and read in pieces where the split is large.

- Up to `MAPPED_FROM` bytes in float32: compressed, and read into memory.
- Above: not compressed. Batches are written as they come, and reading maps the logits from the file.
- Above `HALF_FROM` bytes in float32: the same in float16, which halves the file. Numbers outside of float16's range
  become the nearest in it; infinite ones and NaN stay what they are.

`numpy.load` reads all three.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate import files
from edgemate.durable import whole_file

Array = npt.NDArray[Any]

MAPPED_FROM = 64 << 20
HALF_FROM = 1 << 30

_MEMBER = "logits.npy"
_LOCAL_HEADER = 30  # bytes before the name of a member in a zip file
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


def read_logits_file(path: Path) -> dict[str, Array]:
    """The arrays of the file; `logits` read-only and mapped if they are not compressed.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    mapped = _mapped(path)
    if mapped is None:
        return files.read_arrays(path)
    with np.load(path, allow_pickle=False) as archive:
        return {name: mapped if f"{name}.npy" == _MEMBER else archive[name] for name in archive.files}


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
    with archive.open(zipfile.ZipInfo(_MEMBER), "w", force_zip64=True) as member:
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


def _mapped(path: Path) -> Array | None:
    """The logits, mapped; None where they are compressed or missing, so that the whole file is to be read."""
    with path.open("rb") as source:
        try:
            with zipfile.ZipFile(source) as archive:
                member = archive.getinfo(_MEMBER)
        except (KeyError, zipfile.BadZipFile):
            return None
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            return None
        source.seek(member.header_offset)
        name_length, extra_length = struct.unpack("<HH", source.read(_LOCAL_HEADER)[-4:])
        start = member.header_offset + _LOCAL_HEADER + name_length + extra_length
        source.seek(start)
        version = np.lib.format.read_magic(source)
        if version != (1, 0):
            return None
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(source)
        offset = source.tell()
    if dtype.hasobject or fortran_order or not all(shape):
        return None
    if offset - start + dtype.itemsize * int(np.prod(shape)) != member.file_size:
        raise ValueError("not an .npz archive: its logits are cut off")
    mapped: Array = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape)
    return mapped
