"""What of an array in an ONNX file matters before it is loaded: that it is there, and the numbers that can be sizes."""

from __future__ import annotations

import struct
from typing import NamedTuple

from edgemate.bundle.protobuf import MESSAGE, Field, Message

Numbers = tuple[float, ...]

# Fields of TensorProto in onnx.proto, and of its DataType.
_TYPE, _FLOATS, _INT32S, _INT64S, _NAME, _RAW, _EXTERNAL, _LOCATION = 2, 4, 5, 7, 8, 9, 13, 14
_STRING = 8
_FORMATS = {1: "f", 6: "i", 7: "q"}  # DataType → struct's letter
_MOST_SIZES = 64
"""Numbers that an array of sizes has at most; larger arrays are weights, and are not read."""


class TensorSummary(NamedTuple):
    """An array.

    Attributes:
        name: of the array; "" for one in an attribute.
        numbers: what is in it, if that is at most 64 integers or floats.
    """

    name: str
    numbers: Numbers


def read_tensor(message: Message, tensor: Field) -> TensorSummary:
    """The summary of an array.

    Raises:
        ValueError: it is in another file, is of text, or is not an array.
    """
    if tensor.kind != MESSAGE:
        raise ValueError("has a number where an array is required")
    name, kind = "", 0
    numbers: list[float] = []
    raw: Field | None = None
    for field in message.fields(tensor.start, tensor.stop):
        if field.number == _EXTERNAL or (field.number == _LOCATION and field.value):
            raise ValueError("has arrays in other files")
        if field.number == _TYPE:
            kind = field.value
        elif field.number == _NAME:
            name = message.text(field)
        elif field.number == _RAW:
            raw = field
        elif field.number in (_INT32S, _INT64S) and field.stop - field.start <= 10 * _MOST_SIZES:
            numbers += message.integers(field)
        elif field.number == _FLOATS and field.stop - field.start <= 4 * _MOST_SIZES:
            numbers += _unpacked(message.content(field), "f")
    if kind == _STRING:
        raise ValueError("has arrays of text")
    if raw is not None and kind in _FORMATS and raw.stop - raw.start <= 8 * _MOST_SIZES:
        numbers += _unpacked(message.content(raw), _FORMATS[kind])
    return TensorSummary(name, tuple(numbers) if len(numbers) <= _MOST_SIZES else ())


def _unpacked(content: bytes, letter: str) -> list[float]:
    count = len(content) // struct.calcsize(letter)
    return list(struct.unpack_from(f"<{count}{letter}", content))
