"""Writes means in forms that every TensorRT reads: GlobalAveragePool, or a sum and a division.

torch writes a mean as ReduceMean with its axes as an input, as opset 18 has it. TensorRT 8.5 and 8.6 look for an
attribute, find none, and silently average over all axes, including the batch. ReduceSum has had its axes as an input
since opset 13, which these versions know.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

Sizes = Mapping[str, tuple[int | None, ...]]


def pool_globally(proto: onnx.ModelProto) -> None:
    """Replace every mean over height and width of a (N, D, H, W) tensor, and over other axes of known size, in place.

    The latter are those over the tokens of a sequence or the places of a map (N, H, W, D).
    """
    graph = proto.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    if not any(node.op_type == "ReduceMean" for node in graph.node):
        return
    sizes = _sizes(proto)
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in constants:
            nodes.append(node)
            continue
        shape = sizes.get(node.input[0], ())
        axes = sorted({int(axis) % max(1, len(shape)) for axis in constants[node.input[1]]})
        averaged = [shape[axis] for axis in axes] if shape else [None]
        if len(shape) == 4 and axes == [2, 3]:
            nodes += _pooling(node)
        elif axes and None not in averaged:
            count = math.prod(size for size in averaged if size)
            divisor = numpy_helper.from_array(np.array(count, np.float32), f"{node.output[0]}_count")
            graph.initializer.append(divisor)
            nodes += _sum_and_division(node, divisor)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _pooling(node: NodeProto) -> list[NodeProto]:
    if _keeps_axes(node):
        return [helper.make_node("GlobalAveragePool", [node.input[0]], node.output, node.name)]
    pooled = f"{node.output[0]}_pooled"
    return [
        helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], node.name),
        helper.make_node("Flatten", [pooled], node.output, f"{node.name}_flat", axis=1),
    ]


def _sum_and_division(node: NodeProto, count: TensorProto) -> list[NodeProto]:
    total = f"{node.output[0]}_sum"
    keeps = int(_keeps_axes(node))
    return [
        helper.make_node("ReduceSum", node.input, [total], node.name, keepdims=keeps),
        helper.make_node("Div", [total, count.name], node.output, f"{node.name}_division"),
    ]


def _sizes(proto: onnx.ModelProto) -> Sizes:
    """The shape of every value; None for a size that is not known, such as the batch."""
    graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    return {
        value.name: tuple(
            size.dim_value if size.HasField("dim_value") else None for size in value.type.tensor_type.shape.dim
        )
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }


def _keeps_axes(node: NodeProto) -> bool:
    return next((attribute.i == 1 for attribute in node.attribute if attribute.name == "keepdims"), True)
