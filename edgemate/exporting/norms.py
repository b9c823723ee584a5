"""Writes sums of absolute values and of squares, and their roots, in forms that every TensorRT reads.

torch writes the norm that `F.normalize` divides by as ReduceL2 with its axes as an input, as opset 18 has it. TensorRT
8.5 and 8.6 look for an attribute, find none, and silently reduce all axes, including the batch. ReduceSum has had its
axes as an input since opset 13, which these versions know.
"""

from __future__ import annotations

import onnx
from onnx import NodeProto, helper

_NORMS = ("ReduceL1", "ReduceL2", "ReduceSumSquare")


def sum_norms(proto: onnx.ModelProto) -> None:
    """Replace every L1 norm, L2 norm and sum of squares whose axes are an input by a ReduceSum, in place."""
    graph = proto.graph
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes += _as_sum(node) if node.op_type in _NORMS and len(node.input) == 2 else [node]
    del graph.node[:]
    graph.node.extend(nodes)


def _as_sum(node: NodeProto) -> list[NodeProto]:
    value, axes = node.input
    (output,) = node.output
    terms = f"{output}_terms"
    if node.op_type == "ReduceL1":
        made = [helper.make_node("Abs", [value], [terms], f"{node.name}_terms")]
    else:
        made = [helper.make_node("Mul", [value, value], [terms], f"{node.name}_terms")]
    total = f"{output}_sum" if node.op_type == "ReduceL2" else output
    summed = helper.make_node("ReduceSum", [terms, axes], [total], node.name)
    summed.attribute.extend(node.attribute)  # keepdims, and what no axes mean
    made.append(summed)
    if node.op_type == "ReduceL2":
        made.append(helper.make_node("Sqrt", [total], [output], f"{node.name}_root"))
    return made
