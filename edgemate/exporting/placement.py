"""Which values a quantized graph reads as int8: where the Q/DQ pairs go.

The places are those of NVIDIA ModelOpt, whose choice for three networks is in `tests/exporting/modelopt/`. They follow
what TensorRT fuses: a convolution takes int8, adds the shortcut, applies its activation and rounds once at the end, if
the shortcut is int8 too and what the convolution itself gives is not rounded before.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto, NodeProto

# A product reads its first input and its weights, which must be a constant.
PRODUCTS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
_CONVOLUTIONS = frozenset(("Conv", "ConvTranspose"))
_POOLS = frozenset(("AveragePool", "GlobalAveragePool", "MaxPool"))
# What a convolution applies to its own result at no cost.
_SCALINGS = frozenset(("Add", "BatchNormalization", "Div", "Mul", "Sub"))


def quantized_inputs(proto: ModelProto) -> list[tuple[int, ...]]:
    """For every node of a float32 graph, in its order, the positions of the activations that it reads as int8.

    These are the inputs of products with constant weights and of poolings, and the shortcuts of residual sums. The last
    linear layer before the logits, the graph's last output, and all behind it stay float: its logits decide when to
    stop.
    """
    return _Placement(proto).inputs()


class _Placement:
    def __init__(self, proto: ModelProto) -> None:
        graph = proto.graph
        self._nodes: Sequence[NodeProto] = graph.node
        self._constants = {tensor.name for tensor in graph.initializer}
        self._constants |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._readers: dict[str, int] = dict.fromkeys((value.name for value in graph.output), 1)
        for node in graph.node:
            for name in node.input:
                self._readers[name] = self._readers.get(name, 0) + 1
        self._depth = self._depths()
        self._exempt = self._behind(graph.output[-1].name)

    def inputs(self) -> list[tuple[int, ...]]:
        return [() if id(node) in self._exempt else self._of(node) for node in self._nodes]

    def _of(self, node: NodeProto) -> tuple[int, ...]:
        if node.op_type in PRODUCTS:
            return (0,) if node.input[1] in self._constants and node.input[0] not in self._constants else ()
        if node.op_type in _POOLS:
            return (0,)
        if node.op_type == "Add":
            return self._shortcut(node)
        return ()

    def _shortcut(self, node: NodeProto) -> tuple[int, ...]:
        """The input of a residual sum that is not the convolution's which the sum becomes part of."""
        if any(name in self._constants for name in node.input) or node.input[0] == node.input[1]:
            return ()
        fused = [index for index, name in enumerate(node.input) if self._is_own_result(name)]
        if not fused:
            return ()
        # Of two convolutions the one on the longer way is the branch, and the other one the shortcut.
        branch = max(fused, key=lambda index: self._depth[node.input[index]])
        return (1 - branch,)

    def _is_own_result(self, name: str) -> bool:
        """Whether a convolution gives it, scaled by constants at most, to one reader."""
        maker = self._makers.get(name)
        if maker is None or self._readers[name] > 1:
            return False
        if maker.op_type in _CONVOLUTIONS:
            return True
        varying = [given for given in maker.input if given not in self._constants]
        return maker.op_type in _SCALINGS and len(varying) == 1 and self._is_own_result(varying[0])

    def _depths(self) -> dict[str, int]:
        """Value → the most products on a way to it."""
        depth: dict[str, int] = {}
        for node in self._nodes:
            deepest = max((depth.get(name, 0) for name in node.input), default=0) + (node.op_type in PRODUCTS)
            depth |= dict.fromkeys(node.output, deepest)
        return depth

    def _behind(self, logits: str) -> set[int]:
        """The nodes from the last linear layer to the logits."""
        found: set[int] = set()
        waiting = [logits]
        while waiting:
            maker = self._makers.get(waiting.pop())
            if maker is None or id(maker) in found or maker.op_type in _CONVOLUTIONS:
                continue
            found.add(id(maker))
            if maker.op_type not in PRODUCTS:
                waiting += maker.input
        return found
