"""Mutations of `.npz` archives: what is in them, how it is stored, and what their lists say."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np

from fuzzing.trees import broken

Arrays = Mapping[str, np.ndarray]

_HEADERS: list[dict[str, Any]] = [
    {"shape": (1 << 40,)},
    {"shape": (10**400,)},
    {"shape": (-1,)},
    {"shape": ()},
    {"descr": "|O"},
    {"descr": "|V4"},
    {"descr": "<U0"},
    {"descr": [("a", "<f4"), ("b", "|O")]},
    {"descr": "x" * 3000},
    {"fortran_order": True},
    {"fortran_order": "no"},
]
_VALUES = [0, -1, 1, 2**62, -(2**63), np.nan, np.inf, -np.inf, 1e38]


def mutated(arrays: Arrays, random: Random) -> bytes:
    """An archive of these arrays, with one thing or several not as they should be."""
    content = dict(arrays)
    for _ in range(random.choice((0, 1, 1, 2))):
        name = random.choice(list(content)) if content else "x"
        if name in content:
            _change(content, name, random)
    packed = _packed(content, random)
    kind = random.randrange(6)
    if kind == 0:
        return broken(packed, random)
    if kind == 1:
        return _other_list(packed, random)
    return packed


def _change(arrays: dict[str, np.ndarray], name: str, random: Random) -> None:
    array = arrays[name]
    kind = random.randrange(8)
    if kind == 0 or not array.ndim:
        del arrays[name]
    elif kind == 1:
        arrays[name] = array.astype(random.choice(["float64", "float16", ">f4", "int32", "uint8", "bool", "U5", "c8"]))
    elif kind == 2:
        arrays[name] = random.choice(
            [array[:1], array[:0], array[None], array.ravel(), array[..., None], array[0] if len(array) else array]
        )
    elif kind == 3:
        arrays[name] = np.asarray(random.choice(_VALUES))
    elif kind == 4 and array.size:
        arrays[name] = array.copy()
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            value = np.asarray(random.choice(_VALUES), np.float64).astype(array.dtype)
        arrays[name].reshape(-1)[random.randrange(array.size)] = value
    elif kind == 5:
        arrays[random.choice(["images", "labels", "logits", "x_test", "a\0b", "../x", ""])] = arrays.pop(name)
    elif kind == 6:
        arrays[name] = np.zeros(random.choice([1 << 10, 16 << 20]), np.uint8)
    else:
        small = array.ndim and array.nbytes < 1 << 20  # the mutation has no more memory than the case
        arrays[name] = np.concatenate([array, array]) if small else array


def _packed(arrays: Arrays, random: Random) -> bytes:
    target = io.BytesIO()
    usual = [zipfile.ZIP_DEFLATED] * 4 + [zipfile.ZIP_STORED] * 3
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w") as archive:
        warnings.simplefilter("ignore")  # two members of one name
        for name, array in arrays.items():
            method = random.choice([*usual, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
            suffix = "" if random.random() < 0.03 else ".npy"
            archive.writestr(f"{name}{suffix}" or "x", _member(array, random), compress_type=method)
            if random.random() < 0.03:
                archive.writestr(f"{name}.npy", _member(array, random))
        if random.random() < 0.02:
            for i in range(3000):
                archive.writestr(str(i), b"")
    return target.getvalue()


def _member(array: np.ndarray, random: Random) -> bytes:
    target = io.BytesIO()
    header = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape,
    }
    if random.random() < 0.2:
        header |= random.choice(_HEADERS)
    np.lib.format.write_array_header_1_0(target, header)
    content = target.getvalue() + array.tobytes()
    return broken(content, random) if random.random() < 0.1 else content


def _other_list(packed: bytes, random: Random) -> bytes:
    """The archive with a field of its list of members, of a member's head or of its end changed."""
    found = bytearray(packed)
    marks = [(b"PK\1\2", 46), (b"PK\3\4", 30), (b"PK\5\6", 22)]
    mark, size = random.choice(marks)
    at = packed.find(mark)
    if at >= 0:
        width = random.choice((1, 2, 4))
        value = random.choice((0, 1, 8, 12, 14, 99, 255, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)) & (256**width - 1)
        place = at + random.randrange(4, size - width)
        found[place : place + width] = struct.pack("<Q", value)[:width]
    return bytes(found)
