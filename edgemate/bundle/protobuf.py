"""The fields of a protobuf message, read without the protobuf package and within bounds of time and memory.

Only what every message consists of: https://protobuf.dev/programming-guides/encoding. Which field means what is the
reader's to know.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, MESSAGE, FIXED32 = 0, 1, 2, 5
"""Wire types. The content of a MESSAGE is bytes, text, numbers or another message."""

_FIXED = {FIXED64: 8, FIXED32: 4}
_LONGEST_VARINT = 70  # bits that ten bytes of seven bits hold


class Field(NamedTuple):
    """A field of a message.

    Attributes:
        number: which field.
        kind: its wire type.
        value: of a VARINT, not negative; 0 otherwise.
        start: where the content of other kinds begins.
        stop: where it ends.
    """

    number: int
    kind: int
    value: int
    start: int
    stop: int


class Message:
    """A file's content, as protobuf fields.

    Args:
        content: the bytes.
        most: fields that are read in all before ValueError is raised.
    """

    def __init__(self, content: bytes | mmap.mmap, most: int) -> None:
        self._content = content
        self._left = most
        self._most = most

    def __len__(self) -> int:
        return len(self._content)

    def fields(self, start: int, stop: int) -> Iterator[Field]:
        """The fields between two places. Raises ValueError where the bytes are no fields."""
        while start < stop:
            if self._left <= 0:
                raise ValueError(f"has more than {self._most:,} fields, which is the limit")
            self._left -= 1
            key, start = self._varint(start, stop)
            number, kind = key >> 3, key & 7
            value, end = 0, start
            if kind == VARINT:
                value, end = self._varint(start, stop)
            elif kind in _FIXED:
                end = start + _FIXED[kind]
            elif kind == MESSAGE:
                length, start = self._varint(start, stop)
                end = start + length
            else:
                raise ValueError("is not a protobuf message")
            if end > stop or not number:
                raise ValueError("is cut off or not a protobuf message")
            yield Field(number, kind, value, start, end)
            start = end

    def text(self, field: Field, longest: int = 4096) -> str:
        """The content of a MESSAGE field as text. Raises ValueError if it is not UTF-8 or is longer, in bytes."""
        if field.stop - field.start > longest:
            raise ValueError(f"has a name of {field.stop - field.start:,} bytes; the limit is {longest}")
        return self._content[field.start : field.stop].decode()

    def content(self, field: Field) -> bytes:
        """The bytes of a field that is no VARINT."""
        return self._content[field.start : field.stop]

    def integers(self, field: Field) -> list[int]:
        """The numbers of a field of signed integers, one or packed. Raises ValueError where they are no varints."""
        values, start = [field.value], field.start
        if field.kind == MESSAGE:
            values = []
            while start < field.stop:
                value, start = self._varint(start, field.stop)
                values.append(value)
                self._left -= 1
                if self._left < 0:
                    raise ValueError(f"has more than {self._most:,} fields, which is the limit")
        return [value - (1 << 64) if value >= 1 << 63 else value for value in values]

    def _varint(self, start: int, stop: int) -> tuple[int, int]:
        """A varint, and where it ends."""
        content, value, shift = self._content, 0, 0
        while start < stop and shift < _LONGEST_VARINT:
            byte = content[start]
            start += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, start
            shift += 7
        raise ValueError("is cut off or not a protobuf message")
