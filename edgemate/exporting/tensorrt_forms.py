"""Operators that opset 18 changed, in forms that TensorRT 8 misreads, since it knows opset 17."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from edgemate.bundle import Bundle

# Its axes became an input. Those of ReduceSum did in opset 13.
_REDUCTIONS = frozenset(
    (
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSumSquare",
    )
)
_NEW = frozenset(("BitwiseAnd", "CenterCropPad", "Col2Im", "GroupNormalization", "Mish"))
_SCATTERS = frozenset(("ScatterElements", "ScatterND"))


def misread_in(bundle: Bundle) -> tuple[str, ...]:
    """Operators in the graphs of a bundle that TensorRT 8 misreads, sorted."""
    graphs = [graph for layout in bundle.manifest.graphs.values() for graph in layout]
    return tuple(sorted({name for graph in graphs for name in misread(onnx.load(bundle.file(graph.file)))}))


def misread(proto: onnx.ModelProto) -> list[str]:
    """Operators of a graph in a form that only opset 18 has, sorted."""
    return sorted({node.op_type for node in _nodes(proto.graph) if _is_new(node)})


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Its nodes and those of the branches within."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for branch in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(branch)


def _is_new(node: onnx.NodeProto) -> bool:
    attributes = {attribute.name: attribute for attribute in node.attribute}
    operator = node.op_type
    if operator in _REDUCTIONS:
        return len(node.input) > 1
    if operator == "Pad":
        return len(node.input) > 3
    if operator == "Split":
        return "num_outputs" in attributes
    if operator == "Resize":
        antialias = attributes.get("antialias")
        return "axes" in attributes or (antialias is not None and antialias.i == 1)
    if operator in _SCATTERS:
        reduction = attributes.get("reduction")
        return reduction is not None and reduction.s in (b"max", b"min")
    return operator in _NEW
