"""The text of `config.pbtxt`, in protobuf's text format, of the message `inference.ModelConfig`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgemate.bundle import Graph, InputContract, Tensor
from edgemate.runtime.backends.tensorrt.formats import LINEAR, feature_format

_TYPES = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "uint8": "TYPE_UINT8",
}
_OF_TENSORRT = {"float16": "HALF", "int8": "INT8"}


class Field(NamedTuple):
    """An input or output; `dims` are without the batch.

    Unless it is linear, an engine holds several channels together: without being told, Triton refuses the engine.
    """

    name: str
    data_type: str
    dims: Sequence[int]
    linear: bool = True


def segment_config(name: str, platform: str, graph: Graph, max_batch: int) -> str:
    """The configuration of one segment's model.

    Args:
        name: of the model.
        platform: `onnxruntime_onnx` or `tensorrt_plan`.
        graph: the segment.
        max_batch: the largest batch that Triton may make.
    """

    def field(tensor: Tensor) -> Field:
        sizes = [int(size) for size in tensor.shape[1:]]
        linear = feature_format(_OF_TENSORRT.get(tensor.dtype, tensor.dtype), (1, *sizes)) == LINEAR
        return Field(tensor.name, _TYPES[tensor.dtype], sizes, linear or platform != "tensorrt_plan")

    inputs, outputs = ([field(tensor) for tensor in tensors] for tensors in (graph.inputs, graph.outputs))
    return "".join(
        (
            f"name: {_quoted(name)}\nplatform: {_quoted(platform)}\nmax_batch_size: {max_batch}\n",
            _fields("input", inputs),
            _fields("output", outputs),
            "dynamic_batching { }\n",
        )
    )


def exits_config(name: str, contract: InputContract, classes: int, max_batch: int) -> str:
    """The configuration of the model that runs the segments, which take what `contract` says."""
    outputs = [
        Field("logits", "TYPE_FP32", [classes]),
        Field("label", "TYPE_STRING", [1]),
        Field("probability", "TYPE_FP32", [1]),
        Field("exit", "TYPE_INT32", [1]),
    ]
    return "".join(
        (
            f'name: {_quoted(name)}\nbackend: "python"\nmax_batch_size: {max_batch}\n',
            _fields("input", [Field("image", _TYPES[contract.dtype], contract.shape(1)[1:])]),
            _fields("output", outputs),
            "dynamic_batching { }\n",
            "instance_group [ { kind: KIND_CPU count: 1 } ]\n",
        )
    )


def _fields(key: str, fields: Sequence[Field]) -> str:
    rows = ",\n".join(
        f"  {{ name: {_quoted(field.name)} data_type: {field.data_type} dims: [ {', '.join(map(str, field.dims))} ]"
        f"{'' if field.linear else ' is_non_linear_format_io: true'} }}"
        for field in fields
    )
    return f"{key} [\n{rows}\n]\n"


def _quoted(text: str) -> str:
    """A string of the text format: what is not plain ASCII by its bytes, in octal."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in text.encode())
    return '"' + "".join(plain) + '"'
