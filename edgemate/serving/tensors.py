"""Tensors of the protocol: JSON lists or little-endian bytes, to and from numpy arrays."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from edgemate.serving.refusal import bad

Array = npt.NDArray[Any]
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
}
"""Datatypes of the protocol that are used here, beside BYTES."""


def from_bytes(content: memoryview, datatype: str, shape: Sequence[int]) -> Array:
    """A tensor of the binary extension, without a copy; a RefusedError where the size is not that of the shape."""
    dtype = DTYPES[datatype]
    expected = math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise bad(f"a {datatype} tensor of shape {list(shape)} has {expected:,} bytes, not {len(content):,}")
    return np.frombuffer(content, dtype=dtype).reshape(shape)


def from_list(data: Any, datatype: str, shape: Sequence[int]) -> Array:
    """A UINT8 or FP32 tensor of JSON: nested as its shape, or flat in row-major order.

    Raises:
        RefusedError: the numbers are not as many as the shape says, of another type, or out of range.
    """
    values = _flat(data, shape)
    allowed = {int} if datatype == "UINT8" else {int, float}
    if not set(map(type, values)) <= allowed:
        raise bad(f"data of a {datatype} tensor must be {'integers' if datatype == 'UINT8' else 'numbers'}")
    if datatype == "UINT8" and values and not (min(values) >= 0 and max(values) <= 255):
        raise bad("data of a UINT8 tensor must be from 0 to 255")
    with np.errstate(over="ignore"):  # an infinity is refused later
        return np.array(values, dtype=DTYPES[datatype]).reshape(shape)


def _flat(data: Any, shape: Sequence[int]) -> list[Any]:
    count = math.prod(shape)
    if isinstance(data, list) and len(data) == count and not (data and isinstance(data[0], list)):
        return data
    level: list[Any] = [data]
    for size in shape:
        if any(not isinstance(node, list) or len(node) != size for node in level):
            raise bad(f"data is neither {count:,} numbers nor lists nested as shape {list(shape)}")
        level = list(chain.from_iterable(level))
    return level


def to_bytes(tensor: Array | Sequence[str]) -> bytes:
    """A tensor as the binary extension has it; each text of a BYTES tensor after its length."""
    if isinstance(tensor, np.ndarray):
        return np.ascontiguousarray(tensor).tobytes()
    return b"".join(struct.pack("<I", len(text)) + text for text in _encoded(tensor))


def _encoded(texts: Iterable[str]) -> Iterable[bytes]:
    return (text.encode() for text in texts)
