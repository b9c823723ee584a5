"""Emulates float16 on a CPU without float16 kernels.

ONNX Runtime has no float16 kernels for most CPUs. It computes such nodes in float32 and skips the rounding between two
of them, so that a value too large for float16 does not overflow. Rounding every value shows what a GPU computes.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper


def with_rounding(proto: ModelProto) -> ModelProto:
    """The graph in float32, with every float16 value rounded to float16, overflow included.

    Products are summed in float32 before they are rounded, as GPUs do. Inputs and outputs of float16 become float32. A
    graph without float16 is returned unchanged.
    """
    graph = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph
    known = (*graph.input, *graph.value_info, *graph.output)
    halves = {value.name for value in known if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    if not halves:
        return proto
    rounded = ModelProto()
    rounded.CopyFrom(proto)
    for items in (rounded.graph.node, rounded.graph.value_info):
        del items[:]
    for tensor in rounded.graph.initializer:
        _widen(tensor)
    for value in (*rounded.graph.input, *rounded.graph.output):
        if value.name in halves:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for original in proto.graph.node:
        rounded.graph.node.extend(_rounding(original, halves))
    return rounded


def _rounding(original: NodeProto, halves: set[str]) -> list[NodeProto]:
    node = NodeProto()
    node.CopyFrom(original)
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
            attribute.i = TensorProto.FLOAT
        elif attribute.type == onnx.AttributeProto.TENSOR:
            _widen(attribute.t)
    nodes = [node]
    for i, name in enumerate(original.output):
        if name in halves:
            node.output[i], half = f"{name}_exact", f"{name}_half"
            nodes.append(helper.make_node("Cast", [node.output[i]], [half], f"{half}_cast", to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Cast", [half], [name], f"{name}_cast", to=TensorProto.FLOAT))
    return nodes


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
