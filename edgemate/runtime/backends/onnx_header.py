"""What an ONNX file says it needs of a reader, without the onnx package."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

# ONNX Runtime from this version on → the highest IR version and opset that it reads.
_ONNXRUNTIME = (
    ((1, 12), 8, 17),
    ((1, 14), 8, 18),
    ((1, 15), 9, 18),
    ((1, 16), 9, 19),  # 1.15 takes opset 19, and has no QuantizeLinear of it
    ((1, 17), 9, 20),
    ((1, 18), 10, 21),
    ((1, 21), 10, 22),
    ((1, 22), 11, 23),
)
# Fields of ModelProto and OperatorSetIdProto in onnx.proto.
_IR_VERSION, _OPSET_IMPORT = 1, 8
_DOMAIN, _VERSION = 1, 2


class OnnxHeader(NamedTuple):
    """The versions of the file format and of ONNX's own operators; 0 where the file does not say."""

    ir_version: int
    opset: int


def read_onnx_header(path: Path) -> OnnxHeader:
    """The versions that an ONNX file states. Raises OSError, and ValueError where it is not an ONNX file."""
    ir_version = opset = 0
    with path.open("rb") as stream:
        end = path.stat().st_size
        while stream.tell() < end:
            number, value = _field(stream, end, wanted=_OPSET_IMPORT)
            if number == _IR_VERSION and isinstance(value, int):
                ir_version = value
            elif number == _OPSET_IMPORT and isinstance(value, dict) and value.get(_DOMAIN) in (None, b"", b"ai.onnx"):
                opset = max(opset, int(value.get(_VERSION, 0)))
    return OnnxHeader(ir_version, opset)


def lowest_onnxruntime(header: OnnxHeader) -> str | None:
    """The first ONNX Runtime that reads such a file, as `1.18`; None where that is later than any known here."""
    for (major, minor), ir_version, opset in _ONNXRUNTIME:
        if header.ir_version <= ir_version and header.opset <= opset:
            return f"{major}.{minor}"
    return None


Value = int | bytes | dict[int, "int | bytes"] | None


def _field(stream: BinaryIO, end: int, wanted: int) -> tuple[int, Value]:
    """The next field's number and value; of those with a length only `wanted` is read, as a message of plain fields."""
    key = _varint(stream)
    number, kind = key >> 3, key & 7
    if kind == 0:
        return number, _varint(stream)
    length = {1: 8, 5: 4}[kind] if kind in (1, 5) else _varint(stream) if kind == 2 else -1
    stop = stream.tell() + length
    if length < 0 or stop > end:
        raise ValueError("not an ONNX file")
    message: dict[int, int | bytes] | None = None
    if number == wanted and kind == 2:
        message = {}
        while stream.tell() < stop:
            inner = _varint(stream)
            message[inner >> 3] = _varint(stream) if inner & 7 == 0 else stream.read(_varint(stream))
    stream.seek(stop)
    return number, message


def _varint(stream: BinaryIO) -> int:
    value = shift = 0
    while shift < 64:
        byte = stream.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
    raise ValueError("not an ONNX file")
