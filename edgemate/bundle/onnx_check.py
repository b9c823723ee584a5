"""Whether an ONNX file is whole in itself and readable as text, without the onnx package, before a library sees it.

A tensor of an ONNX file may name another file as the place of its values (external data), which no hash in the manifest
covers. Names that are not UTF-8 are accepted by ONNX Runtime's parser, and break its Python side later.
"""

from __future__ import annotations

from typing import Any

MOST_MESSAGES = 2_000_000
"""Of one file; export writes some thousands."""
_DEEPEST = 64

# Message → field → "text", or the message that the field holds. Of onnx.proto; other fields hold numbers and bytes.
_ENTRY = {1: "text", 2: "text"}
_SCHEMA: dict[str, dict[int, str]] = {
    "Model": {
        **dict.fromkeys((2, 3, 4, 6), "text"),
        7: "Graph",
        8: "OperatorSet",
        14: "Entry",
        20: "Training",
        25: "Function",
        26: "Device",
    },
    "Graph": {
        1: "Node",
        2: "text",
        5: "Tensor",
        10: "text",
        **dict.fromkeys((11, 12, 13), "Value"),
        14: "Annotation",
        15: "Sparse",
        16: "Entry",
    },
    "Node": {
        **dict.fromkeys((1, 2, 3, 4, 6, 7, 8), "text"),
        5: "Attribute",
        9: "Entry",
        10: "Placement",
    },
    "Attribute": {
        1: "text",
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        13: "text",
        14: "Type",
        15: "Type",
        21: "text",
        22: "Sparse",
        23: "Sparse",
    },
    "Tensor": {8: "text", 12: "text", 13: "Entry", 16: "Entry"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Value": {1: "text", 2: "Type", 3: "text", 4: "Entry"},
    "Type": {1: "TensorType", 4: "Sequence", 5: "Map", 6: "text", 8: "TensorType", 9: "Sequence"},
    "TensorType": {2: "Shape"},
    "Sequence": {1: "Type"},
    "Map": {2: "Type"},
    "Shape": {1: "Dimension"},
    "Dimension": {2: "text", 3: "text"},
    "OperatorSet": {1: "text"},
    "Entry": _ENTRY,
    "Annotation": {1: "text", 2: "Entry"},
    "Training": {1: "Graph", 2: "Graph", 3: "Entry", 4: "Entry"},
    "Function": {
        **dict.fromkeys((1, 4, 5, 6, 8, 10, 13), "text"),
        7: "Node",
        9: "OperatorSet",
        11: "Attribute",
        12: "Value",
        14: "Entry",
    },
    "Device": {1: "text", 3: "text"},
    "Placement": {1: "text", 2: "Sharding"},
    "Sharding": {1: "text"},
}
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 13, 14, 1


def problem_of(content: bytes) -> str | None:
    """Why an ONNX file is refused: it is not one, has data elsewhere or text that is not UTF-8; None if it is not."""
    try:
        _Reader(content).message("Model", 0, len(content), 0)
    except _RefusedError as error:
        return str(error)
    return None


class _RefusedError(Exception):
    pass


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._messages = 0

    def message(self, kind: str, at: int, end: int, depth: int) -> None:
        """Look through the message of a kind between two positions."""
        self._messages += 1
        if self._messages > MOST_MESSAGES:
            raise _RefusedError(f"has more than {MOST_MESSAGES:,} parts")
        if depth > _DEEPEST:
            raise _RefusedError(f"is nested more than {_DEEPEST} deep")
        schema = _SCHEMA[kind]
        while at < end:
            key, at = self._number(at, end)
            field, wire = key >> 3, key & 7
            if field == 0:
                raise _RefusedError("is not an ONNX file")
            if wire == 0:
                value, at = self._number(at, end)
                if kind == "Tensor" and field == _DATA_LOCATION and value == _EXTERNAL:
                    raise _RefusedError(_external())
                continue
            if wire == 2:
                length, at = self._number(at, end)
            elif wire in (1, 5):
                length = 8 if wire == 1 else 4
            else:
                raise _RefusedError("is not an ONNX file")
            if at + length > end:
                raise _RefusedError("is not an ONNX file")
            holds = schema.get(field) if wire == 2 else None
            if kind == "Tensor" and field == _EXTERNAL_DATA and wire == 2:
                raise _RefusedError(_external())
            if holds == "text":
                self._text(kind, at, at + length)
            elif holds is not None:
                self.message(holds, at, at + length, depth + 1)
            at += length

    def _text(self, kind: str, at: int, end: int) -> None:
        try:
            self._content[at:end].decode()
        except UnicodeDecodeError as error:
            raise _RefusedError(f"has a name in a {kind.lower()} that is not UTF-8") from error

    def _number(self, at: int, end: int) -> tuple[int, int]:
        """The number that begins at a position, and where it ends."""
        value = shift = 0
        content: Any = self._content
        while at < end and shift < 70:
            byte = content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise _RefusedError("is not an ONNX file")


def _external() -> str:
    return "keeps weights in another file (external data), which is not followed; export the run again"
