"""Mixed-precision ONNX: float16, and float32 where float16 might overflow.

ONNX Runtime's own converter casts every value between two float32 nodes to float16, where it would overflow, so this
module places the casts itself.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgemate.errors import ExportError
from edgemate.exporting.ranges import largest_values
from edgemate.exporting.rebuilding import rebuilt

# These exponentiate, or add up many values and divide only afterwards, so their intermediate values may be far larger
# than their inputs and outputs.
FRAGILE = frozenset(
    (
        "CumSum",
        "Exp",
        "GroupNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "LogSoftmax",
        "LpNormalization",
        "Pow",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
        "Softmax",
    )
)
_MEANS = frozenset(("AveragePool", "GlobalAveragePool", "ReduceMean"))

# Other images may have larger values; a quarter of float16's largest leaves a margin for them.
HEADROOM = 4
LARGEST = float(np.finfo(np.float16).max) / HEADROOM

_WORDS: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}

# Inputs that are float32 whatever the rest of the node is.
_ALWAYS_FLOAT32 = {"Resize": (1, 2)}


def fragile_nodes(proto: ModelProto, feeds: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, str]:
    """Nodes that may overflow in float16, by their operator or by their largest values on real images.

    A node is kept in float32 if an input or output reaches a quarter of float16's largest value, 65504; a mean, if its
    sum may.

    Args:
        proto: a float32 graph.
        feeds: its inputs for some images, input → float32 (n, …).

    Returns:
        Name of the node → operator, in the graph's order.
    """
    shapes = _float_shapes(proto)
    largest = _largest_values(proto, shapes, feeds)
    kept = {}
    for node in proto.graph.node:
        values = [largest.get(name, 0.0) for name in (*node.input, *node.output)]
        if node.op_type in _MEANS:
            values.append(largest.get(node.input[0], 0.0) * _averaged(shapes, node))
        if node.op_type in FRAGILE or not max(values, default=0.0) < LARGEST:
            kept[node.name] = node.op_type
    return kept


def to_float16(proto: ModelProto, keep: Container[str], crossing: Container[str] = ()) -> ModelProto:
    """Convert all nodes to float16 except those named in `keep`.

    Args:
        proto: a float32 graph; with Q/DQ pairs it must be of opset 19 or later.
        keep: names of the nodes that stay in float32.
        crossing: names of the inputs and outputs that become float16; the others keep their type.

    Raises:
        ExportError: the graph has control flow or functions, which are not supported.
    """
    if proto.functions or any(_has_subgraph(node) for node in proto.graph.node):
        raise ExportError(f"{proto.graph.name}: float16 does not support control flow; export in fp32")
    return _Converter(proto, keep, crossing).convert()


class _Converter:
    """Converts the nodes in order, and keeps the name of each value in each type."""

    def __init__(self, proto: ModelProto, keep: Container[str], crossing: Container[str]) -> None:
        self._proto = proto
        self._keep = keep
        self._crossing = crossing
        self._floats = set(_float_shapes(proto))
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._named: dict[tuple[str, int], str] = {(name, TensorProto.FLOAT): name for name in self._constants}
        self._named |= {(value.name, self._outside(value.name)): value.name for value in proto.graph.input}
        self._outputs = {value.name for value in proto.graph.output}
        self._nodes: list[NodeProto] = []
        self._takers: dict[str, list[NodeProto]] = {}
        for node in proto.graph.node:
            for name in node.input:
                self._takers.setdefault(name, []).append(node)

    def convert(self) -> ModelProto:
        for node in self._proto.graph.node:
            self._convert_node(node)
        values = (*self._proto.graph.input, *self._proto.graph.output)
        types = {value.name: self._outside(value.name) for value in values if value.name in self._floats}
        return rebuilt(self._proto, self._nodes, self._constants, types)

    def _outside(self, name: str) -> int:
        """The float type of an input or output of the graph."""
        return TensorProto.FLOAT16 if name in self._crossing else TensorProto.FLOAT

    def _convert_node(self, original: NodeProto) -> None:
        node = NodeProto()
        node.CopyFrom(original)
        kind = self._kind(original)
        always = _ALWAYS_FLOAT32.get(node.op_type, ())
        for i, name in enumerate(original.input):
            if name in self._floats:
                node.input[i] = self._as(name, TensorProto.FLOAT if i in always else kind)
        if kind == TensorProto.FLOAT16:
            _convert_attributes(node)
        self._nodes.append(node)
        for i, name in enumerate(original.output):
            if name not in self._floats:
                continue
            outside = self._outside(name)
            if name in self._outputs and kind != outside:
                node.output[i] = f"{name}_{_WORDS[kind]}"
                self._cast(node.output[i], name, outside)
                self._named[name, outside] = name
            self._named[name, kind] = node.output[i]

    def _kind(self, node: NodeProto) -> int:
        """The float type that a node computes in."""
        if node.name in self._keep:
            return TensorProto.FLOAT
        if node.op_type == "QuantizeLinear":  # it reads the type that exists already
            name = node.input[0]
            return TensorProto.FLOAT16 if (name, TensorProto.FLOAT16) in self._named else TensorProto.FLOAT
        if node.op_type == "DequantizeLinear":  # a cast after it would hide it from its consumer
            takers = self._takers.get(node.output[0], [])
            if any(taker.name in self._keep for taker in takers):
                return TensorProto.FLOAT
        return TensorProto.FLOAT16

    def _as(self, name: str, kind: int) -> str:
        """The name of value `name` in that type. The first time, a constant is converted, and any other value cast."""
        if (name, kind) not in self._named:
            other = TensorProto.FLOAT if kind == TensorProto.FLOAT16 else TensorProto.FLOAT16
            wanted = f"{name}_{_WORDS[kind]}"
            if name in self._constants:
                self._constants[wanted] = _half(self._constants[name], wanted)
            else:
                self._cast(self._named[name, other], wanted, kind)
            self._named[name, kind] = wanted
        return self._named[name, kind]

    def _cast(self, source: str, target: str, kind: int) -> None:
        self._nodes.append(helper.make_node("Cast", [source], [target], name=f"Cast_{target}", to=kind))


def _convert_attributes(node: NodeProto) -> None:
    if node.op_type == "ConstantOfShape" and not node.attribute:
        node.attribute.append(helper.make_attribute("value", helper.make_tensor("", TensorProto.FLOAT, [1], [0.0])))
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_half(attribute.t, attribute.t.name))


def _half(tensor: TensorProto, name: str) -> TensorProto:
    """A float32 constant as float16. Values out of range are clipped, and underflow gives the smallest subnormal."""
    values = numpy_helper.to_array(tensor)
    limits = np.finfo(np.float16)
    clipped = np.where(np.isfinite(values), np.clip(values, limits.min, limits.max), values).astype(np.float16)
    vanished = (clipped == 0) & (values != 0)
    return numpy_helper.from_array(
        np.where(vanished, np.copysign(limits.smallest_subnormal, values), clipped).astype(np.float16), name
    )


def _float_shapes(proto: ModelProto) -> dict[str, tuple[int, ...]]:
    """Name of every float32 value → its shape without the batch; 0 for an unknown size."""
    graph: GraphProto = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    shapes = {
        value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim[1:])
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    constants = (tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT)
    return shapes | {tensor.name: tuple(tensor.dims[1:]) for tensor in constants}


def _largest_values(
    proto: ModelProto, shapes: Mapping[str, Any], feeds: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, float]:
    """Name of every float32 value, constants included → its largest absolute number over the images."""
    constants = {tensor.name: np.abs(numpy_helper.to_array(tensor)) for tensor in proto.graph.initializer}
    found = {name: float(values.max(initial=0.0)) for name, values in constants.items() if name in shapes}
    return found | largest_values(proto, [name for name in shapes if name not in found], feeds)


def _averaged(shapes: Mapping[str, tuple[int, ...]], node: NodeProto) -> float:
    """The number of values that a node averages per output."""
    if node.op_type == "AveragePool":
        kernel = next(attribute.ints for attribute in node.attribute if attribute.name == "kernel_shape")
        return float(math.prod(kernel))
    taken, given = (math.prod(shapes[name]) for name in (node.input[0], node.output[0]))
    return taken / given if taken and given else math.inf


def _has_subgraph(node: NodeProto) -> bool:
    kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attribute)
