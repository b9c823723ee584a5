"""One graph that exits early by itself: the segments, each after the first inside an `If` of the one before it.

It takes one image at a time. It continues after exit k unless the largest softmax probability is above
`thresholds[k-1]` and all logits are finite, as policy `confidence` does between segments; no temperature is applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from edgemate.bundle import Graph, Tensor
from edgemate.errors import ExportError
from edgemate.exporting.composing import with_unique_names
from edgemate.exporting.exported_graph import ExportedGraph


def conditional_graph(segments: Sequence[ModelProto], metadata: Sequence[Graph]) -> ExportedGraph:
    """Assemble the conditional graph from segments in any precision; it gives the same logits as these.

    It takes `image` (1, C, H, W) and `thresholds` float32 (K-1,), and gives `logits` float32 (1, classes) of the exit
    that was taken and `exit`, int32 (1,), counted from 1. Its batch is fixed to 1.

    Args:
        segments: the segments' graphs, in order.
        metadata: the manifest's entries of the segments.

    Raises:
        ExportError: there is only one segment.
    """
    exits = len(segments)
    if exits < 2:
        raise ExportError("conditional: the network has one exit; this layout needs two or more")
    classes = metadata[-1].outputs[-1].shape[-1]
    image = metadata[0].inputs[0]
    graph = Graph(
        exit=exits,
        file="onnx/conditional.onnx",
        inputs=(
            Tensor(name=image.name, shape=(1, *image.shape[1:])),
            Tensor(name="thresholds", shape=(exits - 1,)),
        ),
        outputs=(Tensor(name="logits", shape=(1, classes)), Tensor(name="exit", dtype="int32", shape=(1,))),
    )
    body = _body(segments, 1, ("logits", "exit"), graph.outputs)
    body.name = "conditional"
    body.input.extend(_value(tensor, tensor.name) for tensor in graph.inputs)
    proto = helper.make_model(
        body,
        opset_imports=list(segments[0].opset_import),
        ir_version=max(segment.ir_version for segment in segments),
        producer_name="edgemate",
    )
    return ExportedGraph(graph, proto)


def _body(segments: Sequence[ModelProto], exit: int, names: tuple[str, str], outputs: Sequence[Tensor]) -> GraphProto:
    """Segment `exit` and all later ones, as a graph without inputs that gives `names`."""
    nodes, constants = with_unique_names(segments[exit - 1], exit)
    logits = segments[exit - 1].graph.output[-1].name
    if exit == len(segments):
        nodes += _answer(logits, exit, names)
    else:
        decision, above = _is_confident(logits, exit)
        stop = _branch(f"stop_{exit}")
        taken = (f"logits_of_{exit}", f"exit_of_{exit}")
        stop.node.extend(_answer(logits, exit, taken))
        stop.output.extend(_value(tensor, name) for tensor, name in zip(outputs, taken, strict=True))
        later = (f"logits_after_{exit}", f"exit_after_{exit}")
        proceed = _body(segments, exit + 1, later, outputs)
        nodes += [
            *decision,
            helper.make_node("If", [above], list(names), f"if_{exit}", then_branch=stop, else_branch=proceed),
        ]
    body = _branch(f"exit_{exit}")
    body.node.extend(nodes)
    body.initializer.extend(constants)
    body.output.extend(_value(tensor, name) for tensor, name in zip(outputs, names, strict=True))
    return body


def _is_confident(logits: str, exit: int) -> tuple[list[NodeProto], str]:
    """Nodes that compare the largest probability with the threshold, as policy `confidence` does, and their output."""

    def constant(name: str, value: np.ndarray) -> NodeProto:
        return helper.make_node("Constant", [], [named(name)], named(name), value=numpy_helper.from_array(value))

    def node(operator: str, inputs: list[str], name: str, **attributes: Any) -> NodeProto:
        return helper.make_node(operator, inputs, [named(name)], named(name), **attributes)

    def named(name: str) -> str:
        return f"decision_{exit}.{name}"

    # The maximum and minimum are of all axes, as there is one image: opset 18 made axes an input, which TensorRT 8 does
    # not know. A logit of NaN or +inf makes the confidence NaN, which is above nothing, so only -inf is looked for.
    nodes = [
        constant("classes", np.array([1], np.int64)),
        constant("one", np.array(1, np.float32)),
        constant("infinite", np.array(-np.inf, np.float32)),
        constant("place", np.array(exit - 1, np.int64)),
        node("ReduceMax", [logits], "largest", keepdims=1),
        node("Sub", [logits, named("largest")], "shifted"),
        node("Exp", [named("shifted")], "exponentials"),
        node("ReduceSum", [named("exponentials"), named("classes")], "sum", keepdims=0),
        node("Div", [named("one"), named("sum")], "confidence"),
        node("Gather", ["thresholds", named("place")], "threshold", axis=0),
        node("Greater", [named("confidence"), named("threshold")], "above"),
        node("ReduceMin", [logits], "smallest", keepdims=0),
        node("Greater", [named("smallest"), named("infinite")], "finite"),
        node("And", [named("above"), named("finite")], "both"),
        node("Squeeze", [named("both")], "confident"),
    ]
    return nodes, named("confident")


def _answer(logits: str, exit: int, names: tuple[str, str]) -> list[NodeProto]:
    number = numpy_helper.from_array(np.array([exit], np.int32))
    return [
        helper.make_node("Identity", [logits], [names[0]], f"answer_{exit}"),
        helper.make_node("Constant", [], [names[1]], f"answered_by_{exit}", value=number),
    ]


def _branch(name: str) -> GraphProto:
    graph = GraphProto()
    graph.name = name
    return graph


def _value(tensor: Tensor, name: str) -> ValueInfoProto:
    kinds = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int32": TensorProto.INT32}
    return helper.make_tensor_value_info(name, kinds[tensor.dtype], tensor.shape)
