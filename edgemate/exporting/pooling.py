"""Global means as GlobalAveragePool, the form that every TensorRT reads.

torch writes a mean over height and width as ReduceMean with its axes as an input, as opset 18 has it. TensorRT 8.5 and
8.6 look for them in an attribute, find none, and average over all axes, the batch too, without a word.
"""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper


def pool_globally(proto: onnx.ModelProto) -> None:
    """Replace every mean over height and width of a (N, D, H, W) tensor, in place."""
    graph = proto.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in constants:
            nodes.append(node)
            continue
        axes = sorted(int(axis) for axis in constants[node.input[1]])
        if axes not in ([2, 3], [-2, -1]):
            nodes.append(node)
        elif _keeps_axes(node):
            nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], node.output, node.name))
        else:
            pooled = f"{node.output[0]}_pooled"
            nodes.append(helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], node.name))
            nodes.append(helper.make_node("Flatten", [pooled], node.output, f"{node.name}_flat", axis=1))
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _keeps_axes(node: onnx.NodeProto) -> bool:
    return next((attribute.i == 1 for attribute in node.attribute if attribute.name == "keepdims"), True)
