"""MACs of one operator of an exported graph, from the shapes of its tensors.

The same operators count as in `edgemate.models.cost`, and by the same formulas; a test compares the sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.fx import Node

Shape = tuple[int, ...]


def operator_name(node: Node) -> str:
    """Name of an operator without overload and in-place mark: `aten.add_.Tensor` → `add`."""
    schema = getattr(node.target, "_schema", None)
    name = str(schema.name) if schema is not None else str(getattr(node.target, "__name__", node.target))
    return name.rpartition("::")[2].removesuffix("_")


def is_counted(node: Node) -> bool:
    """Whether the operator has MACs."""
    return operator_name(node) in _MACS


def operator_macs(node: Node) -> int:
    """MACs of a counted operator."""
    return _MACS[operator_name(node)](node)


def shape_of(value: Any) -> Shape:
    """Shape of a node's tensor; () where it has none."""
    tensor = value.meta.get("val") if isinstance(value, Node) else None
    return tuple(int(size) for size in tensor.shape) if isinstance(tensor, Tensor) else ()


def convolution_reads(node: Node, values: int) -> int:
    """How many of the `values` of its input a convolution reads: a kernel smaller than its stride skips some."""
    kernel = shape_of(node.args[1])[2:]
    stride = node.args[3] if len(node.args) > 3 else node.kwargs.get("stride", 1)
    if operator_name(node).startswith("conv_transpose"):
        return values
    strides = list(stride) if isinstance(stride, (list, tuple)) else [stride]
    if len(strides) == 1:
        strides *= len(kernel)
    read = float(values)
    for size, step in zip(kernel, strides, strict=False):
        read *= min(1.0, size / int(step))  # type: ignore[arg-type]
    return math.floor(read)


def _convolution(node: Node) -> int:
    """One MAC per weight of a filter and place of the output."""
    return math.prod(shape_of(node)) * math.prod(shape_of(node.args[1])[1:])


def _transposed(node: Node) -> int:
    """One MAC per weight of a filter and place of the input."""
    return math.prod(shape_of(node.args[0])) * math.prod(shape_of(node.args[1])[1:])


def _product(first: int) -> Callable[[Node], int]:
    """Matrix products: one MAC per value of the output and column of the first factor, argument number `first`."""

    def macs(node: Node) -> int:
        return math.prod(shape_of(node)) * shape_of(node.args[first])[-1]

    return macs


def _attention(node: Node) -> int:
    """softmax(Q Kᵀ) V without the softmax: Q (…, L, E), K (…, S, E), V (…, S, F)."""
    query, key, value = (shape_of(argument) for argument in node.args[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _einsum(node: Node) -> int:
    """One MAC per combination of all indices, for two factors."""
    equation, factors = str(node.args[0]), node.args[1]
    sizes: dict[str, int] = {}
    for letters, factor in zip(equation.split("->")[0].replace(" ", "").split(","), _sequence(factors), strict=True):
        shape = shape_of(factor)
        before, dots, after = letters.partition("...")
        # The dimensions that an ellipsis stands for, counted from its end, as they are broadcast.
        others = [f"...{n}" for n in range(len(shape) - len(before) - len(after), 0, -1)] if dots else []
        for index, size in zip([*before, *others, *after], shape, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))
    return math.prod(sizes.values())


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else [value]


_MACS: dict[str, Callable[[Node], int]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
    **dict.fromkeys(("linear", "matmul", "mm", "bmm"), _product(0)),
    **dict.fromkeys(("addmm", "baddbmm"), _product(1)),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
}
