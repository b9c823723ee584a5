"""Composes prefixes from exported segments, so that torch exports each part of the network once.

torch takes most of an export's time. A prefix is its segments in order, without the heads of earlier exits.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto, NodeProto, TensorProto, helper

from edgemate.bundle import Graph
from edgemate.exporting.exported_graph import ExportedGraph


def prefix_of(segments: Sequence[ModelProto], metadata: Sequence[Graph]) -> ExportedGraph:
    """The prefix of the last of these segments: `image` to `logits_<k>`.

    Args:
        segments: 1 to k, in float32, in order.
        metadata: the manifest's entries of the segments.
    """
    exit = metadata[-1].exit
    logits = metadata[-1].outputs[-1]
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []
    for segment, of_segment in zip(segments, metadata, strict=True):
        own_nodes, own_constants = with_unique_names(segment, of_segment.exit)
        nodes += own_nodes
        constants += own_constants
    nodes = _ancestors(nodes, logits.name)
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        f"prefix_{exit}",
        list(segments[0].graph.input),
        [segments[-1].graph.output[-1]],
        [constant for constant in constants if constant.name in read],
    )
    proto = helper.make_model(
        graph,
        opset_imports=list(segments[0].opset_import),
        ir_version=max(segment.ir_version for segment in segments),
        producer_name="edgemate",
    )
    made = Graph(exit=exit, file=f"onnx/prefix_{exit}.onnx", inputs=metadata[0].inputs, outputs=(logits,))
    return ExportedGraph(made, proto)


def with_unique_names(segment: ModelProto, exit: int) -> tuple[list[NodeProto], list[TensorProto]]:
    """A segment's nodes and constants, renamed to be unique; tensors that pass between segments keep their names."""
    graph = segment.graph
    # Tensors that pass from segment to segment have unique names already.
    public = {value.name for value in (*graph.input, *graph.output)}

    def renamed(name: str) -> str:
        return name if name in public or not name else f"exit_{exit}.{name}"

    nodes, constants = [], []
    for original in graph.node:
        node = NodeProto()
        node.CopyFrom(original)
        node.name = f"exit_{exit}.{original.name}"
        for names in (node.input, node.output):
            names[:] = [renamed(name) for name in names]
        nodes.append(node)
    for constant in graph.initializer:
        tensor = TensorProto()
        tensor.CopyFrom(constant)
        tensor.name = renamed(constant.name)
        constants.append(tensor)
    return nodes, constants


def _ancestors(nodes: Sequence[NodeProto], output: str) -> list[NodeProto]:
    """The nodes that the output depends on, in their order."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]
