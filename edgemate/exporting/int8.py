"""INT8 as Q/DQ pairs in the graph, the form that every TensorRT reads.

Where the pairs go is `placement.py`'s subject. Ranges are symmetric, since TensorRT supports no zero point but 0, and
biases stay float, since it refuses one that is dequantized from int32.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgemate.exporting.placement import PRODUCTS, quantized_inputs
from edgemate.exporting.ranges import largest_values
from edgemate.exporting.rebuilding import rebuilt

STEPS = 127


def to_int8(
    proto: ModelProto, feeds: Mapping[str, npt.NDArray[np.float32]], crossing: Mapping[str, float] | None = None
) -> ModelProto:
    """Insert the Q/DQ pairs; weights of the products that read int8 are stored as int8 per output channel.

    The range of a value is symmetric, up to its largest absolute value on the images.

    Args:
        proto: a float32 graph.
        feeds: its inputs for the images of the INT8 calibration, name → float32 (n, …).
        crossing: inputs and outputs of the graph that become int8, and their scales.
    """
    return _Quantizer(proto, feeds, crossing or {}).convert()


def scale_of(largest: float) -> float:
    """The scale of a value that is `largest` at most. One that is always 0 may have any."""
    return largest / STEPS or 1.0


class _Quantizer:
    def __init__(
        self, proto: ModelProto, feeds: Mapping[str, npt.NDArray[np.float32]], crossing: Mapping[str, float]
    ) -> None:
        self._proto = proto
        self._crossing = crossing
        self._inputs = quantized_inputs(proto)
        self._weights = {tensor.name: tensor for tensor in proto.graph.initializer}
        pairs = zip(proto.graph.node, self._inputs, strict=True)
        read = [node.input[position] for node, positions in pairs for position in positions]
        self._read = frozenset(read)
        largest = largest_values(proto, [name for name in read if name not in crossing], feeds)
        self._scales = {name: scale_of(value) for name, value in largest.items()} | dict(crossing)
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._made: set[str] = set()  # weights that have their node
        self._dequantized: dict[str, str] = {}  # value → its name after the pair
        self._floats: dict[str, str] = {}  # output that is int8 → its name before

    def convert(self) -> ModelProto:
        for value in self._proto.graph.input:
            if value.name in self._crossing:
                self._dequantize(value.name, value.name)
            else:
                self._quantize_if_read(value.name)
        for original, positions in zip(self._proto.graph.node, self._inputs, strict=True):
            node = NodeProto()
            node.CopyFrom(original)
            node.input[:] = [self._floats.get(name, name) for name in original.input]
            for position in positions:
                node.input[position] = self._dequantized[original.input[position]]
            if positions and node.op_type in PRODUCTS:
                node.input[1] = self._quantized_weights(original)
            self._nodes.append(node)
            for index, name in enumerate(original.output):
                if name in self._crossing:
                    node.output[index] = self._floats[name] = f"{name}_float"
                    self._quantize(name, self._floats[name], name)
                    self._dequantize(name, name)
                else:
                    self._quantize_if_read(name)
        constants = {**self._weights, **self._constants}
        return rebuilt(self._proto, self._nodes, constants, dict.fromkeys(self._crossing, TensorProto.INT8))

    def _quantize_if_read(self, name: str) -> None:
        if name in self._read:
            self._quantize(name, name, f"{name}_quantized")
            self._dequantize(name, f"{name}_quantized")

    def _quantize(self, value: str, source: str, target: str) -> None:
        inputs = [source, *self._scale(value, np.array(self._scales[value], np.float32))]
        self._nodes.append(helper.make_node("QuantizeLinear", inputs, [target], f"{value}_quantize"))

    def _dequantize(self, value: str, source: str) -> None:
        if value not in self._read:
            return
        inputs = [source, *self._scale(value, np.array(self._scales[value], np.float32))]
        self._dequantized[value] = f"{value}_dequantized"
        self._nodes.append(
            helper.make_node("DequantizeLinear", inputs, [self._dequantized[value]], f"{value}_dequantize")
        )

    def _quantized_weights(self, node: NodeProto) -> str:
        """The weights of a product, from int8 constants with a scale per output channel."""
        name = node.input[1]
        values = numpy_helper.to_array(self._weights[name])
        axis = _output_axis(node, values.ndim)
        target = f"{name}_dequantized_{axis}"
        if target not in self._made:
            largest = np.abs(values).max(axis=tuple(other for other in range(values.ndim) if other != axis))
            scales = np.where(largest > 0, largest / STEPS, 1).astype(np.float32)
            shape = [-1 if other == axis else 1 for other in range(values.ndim)]
            rounded = np.clip(np.rint(values / scales.reshape(shape)), -STEPS, STEPS).astype(np.int8)
            stored = self._constant(f"{name}_quantized_{axis}", rounded)
            inputs = [stored, *self._scale(target, scales)]
            self._nodes.append(helper.make_node("DequantizeLinear", inputs, [target], f"{target}_node", axis=axis))
            self._made.add(target)
        return target

    def _scale(self, value: str, scale: npt.NDArray[np.float32]) -> tuple[str, str]:
        """The names of a scale and of its zero points, as constants."""
        zeros = np.zeros(scale.shape, np.int8)
        return self._constant(f"{value}_scale", scale), self._constant(f"{value}_zero_point", zeros)

    def _constant(self, name: str, values: npt.NDArray[np.float32] | npt.NDArray[np.int8]) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(values, name)
        return name


def _output_axis(node: NodeProto, dimensions: int) -> int:
    """The axis of a product's weights that its output channels are along."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        transposed = next((attribute.i for attribute in node.attribute if attribute.name == "transB"), 0)
        return 0 if transposed else 1
    return dimensions - 1
