"""A graph again, with other nodes: what the conversions of precision end with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import ModelProto, NodeProto, TensorProto


def rebuilt(
    proto: ModelProto,
    nodes: Sequence[NodeProto],
    constants: Mapping[str, TensorProto],
    types: Mapping[str, int],
) -> ModelProto:
    """A copy of a model with these nodes instead of its own, and those of the constants that they read.

    Args:
        proto: the model, which is not changed.
        nodes: in an order in which they can run.
        constants: by name.
        types: of inputs and outputs of the graph, by name, as members of `TensorProto.DataType`; others keep theirs.
    """
    made = ModelProto()
    made.CopyFrom(proto)
    graph = made.graph
    for items in (graph.node, graph.value_info, graph.initializer):
        del items[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    graph.initializer.extend(tensor for name, tensor in constants.items() if name in read)
    for value in (*graph.input, *graph.output):
        if value.name in types:
            value.type.tensor_type.elem_type = types[value.name]
    return made
