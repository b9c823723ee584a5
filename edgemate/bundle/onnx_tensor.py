"""What of an array in an ONNX file matters before it is loaded: that it is there, and the numbers that can be sizes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from edgemate.bundle.protobuf import MESSAGE, Field, Message

Numbers = tuple[float, ...]

# Fields of TensorProto in onnx.proto, and of its DataType.
_TYPE, _FLOATS, _INT32S, _INT64S, _NAME, _RAW, _DOUBLES, _UINT64S = 2, 4, 5, 7, 8, 9, 10, 11
_EXTERNAL, _LOCATION = 13, 14
_STRING = 8
_BFLOAT16 = "bfloat16"
# DataType → struct's letter, and the field that has the numbers where they are not raw: floats of 16 bits by their
# bits. Complex numbers and those of less than a byte cannot be sizes.
_TYPES = {
    1: ("f", _FLOATS),
    2: ("B", _INT32S),
    3: ("b", _INT32S),
    4: ("H", _INT32S),
    5: ("h", _INT32S),
    6: ("i", _INT32S),
    7: ("q", _INT64S),
    9: ("B", _INT32S),
    10: ("e", _INT32S),
    11: ("d", _DOUBLES),
    12: ("I", _UINT64S),
    13: ("Q", _UINT64S),
    16: (_BFLOAT16, _INT32S),
}
_FIELDS = {field for _, field in _TYPES.values()}
_MOST_SIZES = 64
"""Numbers that an array of sizes has at most; larger arrays are weights, and are not read."""


class TensorSummary(NamedTuple):
    """An array.

    Attributes:
        name: of the array; "" for one in an attribute.
        numbers: what is in it, if that is at most 64 real numbers; else None.
    """

    name: str
    numbers: Numbers | None


def read_tensor(message: Message, tensor: Field) -> TensorSummary:
    """The summary of an array.

    Raises:
        ValueError: it is in another file, is of text, or is not an array.
    """
    if tensor.kind != MESSAGE:
        raise ValueError("has a number where an array is required")
    name, kind = "", 0
    typed: list[Field] = []
    raw: Field | None = None
    for field in message.fields(tensor.start, tensor.stop):
        if field.number == _EXTERNAL or (field.number == _LOCATION and field.value):
            raise ValueError("has arrays in other files")
        if field.number in (_NAME, _RAW) and field.kind != MESSAGE:  # which protobuf would skip
            raise ValueError("has a number as the name or content of an array")
        if field.number == _TYPE:
            kind = field.value
        elif field.number == _NAME:
            name = message.text(field)
        elif field.number == _RAW:
            raw = field
        elif field.number in _FIELDS and len(typed) <= _MOST_SIZES:
            typed.append(field)
    if kind == _STRING:
        raise ValueError("has arrays of text")
    return TensorSummary(name, _numbers(message, kind, raw, typed))


def read_floats(message: Message, fields: Sequence[Field]) -> Numbers | None:
    """The numbers in fields of float32, one or packed; None if they are more than an array of sizes has."""
    return _numbers(message, 1, None, [field._replace(number=_FLOATS) for field in fields])


def _numbers(message: Message, kind: int, raw: Field | None, typed: Sequence[Field]) -> Numbers | None:
    if kind not in _TYPES or len(typed) > _MOST_SIZES:
        return None
    letter, number = _TYPES[kind]
    numbers: list[float] = []
    for field in [field for field in typed if field.number == number] if raw is None else [raw]:
        if field.stop - field.start > 10 * _MOST_SIZES:  # the longest varint has ten bytes
            return None
        integers = raw is None and number not in (_FLOATS, _DOUBLES)
        numbers += _unpacked(_cut(message.integers(field), letter) if integers else message.content(field), letter)
    return tuple(numbers) if len(numbers) <= _MOST_SIZES else None


def _cut(integers: list[int], letter: str) -> bytes:
    """Integers in the bytes of their type, as ONNX Runtime casts them."""
    size = _size(letter)
    return b"".join((value % (1 << 8 * size)).to_bytes(size, "little") for value in integers)


def _unpacked(content: bytes, letter: str) -> list[float]:
    count = len(content) // _size(letter)
    if letter == _BFLOAT16:  # the first half of a float32
        content = b"".join(bytes(2) + content[2 * k : 2 * k + 2] for k in range(count))
        letter = "f"
    return list(struct.unpack_from(f"<{count}{letter}", content))


def _size(letter: str) -> int:
    return 2 if letter == _BFLOAT16 else struct.calcsize(f"<{letter}")
