"""How features pass from segment to segment: in what both sides compute in, so that neither casts at the cut.

A tensor between two segments is int8 where all that read it do so through Q/DQ pairs: the rounding moves from their
side of the cut to the other, with the same scale, and changes nothing. Else it is float16 in graphs of float16, unless
it might overflow there. Images, logits and the raw logits of a mixing stay float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from edgemate.bundle import Graph, Tensor
from edgemate.bundle.manifest import Precision
from edgemate.exporting.fp16 import LARGEST
from edgemate.exporting.int8 import scale_of
from edgemate.exporting.placement import quantized_inputs
from edgemate.models.multi_exit import RAW_LOGITS


@dataclass(frozen=True)
class Boundaries:
    """The tensors between segments that are not float32.

    Attributes:
        int8: name → scale.
        float16: names.
    """

    int8: Mapping[str, float] = field(default_factory=dict)
    float16: frozenset[str] = frozenset()

    def of(self, graph: Graph) -> Graph:
        """The manifest's entry of a graph, with these types."""
        return graph.model_copy(
            update={
                "inputs": tuple(map(self._typed, graph.inputs)),
                "outputs": tuple(map(self._typed, graph.outputs)),
            }
        )

    def _typed(self, tensor: Tensor) -> Tensor:
        dtype: Literal["float32", "float16", "int8"] = "float32"
        if tensor.name in self.int8:
            dtype = "int8"
        elif tensor.name in self.float16:
            dtype = "float16"
        return tensor if dtype == "float32" else tensor.model_copy(update={"dtype": dtype})


NO_BOUNDARIES = Boundaries()


def choose_boundaries(
    protos: Sequence[ModelProto],
    graphs: Sequence[Graph],
    precision: Precision,
    values: Mapping[str, npt.NDArray[np.float32]],
) -> Boundaries:
    """Choose the type of every tensor that one of the graphs gives and another one takes.

    Args:
        protos: the graphs in float32.
        graphs: their entries in the manifest.
        precision: what they will be converted to.
        values: what these tensors hold for real images, float32 (n, …).
    """
    given = {tensor.name for graph in graphs for tensor in graph.outputs}
    taken = {tensor.name for graph in graphs for tensor in graph.inputs} & given
    features = sorted(name for name in taken if not name.startswith(f"{RAW_LOGITS}_"))
    largest = {name: float(np.abs(values[name]).max(initial=0.0)) for name in features}
    int8: dict[str, float] = {}
    if "int8" in precision:
        floats = {name for proto in protos for name in _read_as_float(proto)}
        int8 = {name: scale_of(largest[name]) for name in features if name not in floats}
    float16: frozenset[str] = frozenset()
    if "fp16" in precision:
        float16 = frozenset(name for name in features if name not in int8 and largest[name] < LARGEST)
    return Boundaries(int8, float16)


def _read_as_float(proto: ModelProto) -> set[str]:
    """The inputs of a graph that a node reads without a Q/DQ pair."""
    inputs = {value.name for value in proto.graph.input}
    return {
        name
        for node, positions in zip(proto.graph.node, quantized_inputs(proto), strict=True)
        for index, name in enumerate(node.input)
        if index not in positions and name in inputs
    }
