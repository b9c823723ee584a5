"""Writes splits with the sizes of their parts, the form that every TensorRT reads.

torch writes a split into equal parts with their number, as opset 18 has it. TensorRT 8.5 and 8.6 know opset 17 and no
such attribute; sizes as an input have been there since opset 13.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def split_by_sizes(proto: onnx.ModelProto) -> None:
    """Replace the number of parts of every split along an axis of known size by their sizes, in place."""
    graph = proto.graph
    if not any(_count(node) for node in graph.node):
        return
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*inferred.input, *inferred.value_info)}
    for node in graph.node:
        count, dimensions = _count(node), shapes.get(node.input[0], ())
        if not count or not dimensions:
            continue
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        size = dimensions[axis % len(dimensions)].dim_value
        if not size:
            continue
        largest = -(-size // count)  # the last part may be smaller
        parts = [*([largest] * (count - 1)), size - largest * (count - 1)]
        sizes = numpy_helper.from_array(np.array(parts, np.int64), f"{node.output[0]}_sizes")
        graph.initializer.append(sizes)
        new = helper.make_node("Split", [node.input[0], sizes.name], list(node.output), node.name, axis=axis)
        node.CopyFrom(new)


def _count(node: onnx.NodeProto) -> int:
    """How many parts a split is asked for by number; 0 for any other node."""
    if node.op_type != "Split":
        return 0
    return next((attribute.i for attribute in node.attribute if attribute.name == "num_outputs"), 0)
