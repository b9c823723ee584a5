"""Converts graphs to `fp16`, `int8` or `int8+fp16`, in a form that every TensorRT and ONNX Runtime read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto

from edgemate import files
from edgemate.bundle import Graph
from edgemate.bundle.manifest import Precision
from edgemate.errors import ExportError
from edgemate.exporting.boundaries import NO_BOUNDARIES, Boundaries, choose_boundaries
from edgemate.exporting.fp16 import fragile_nodes, to_float16
from edgemate.exporting.int8 import to_int8
from edgemate.exporting.ir_version import lower_ir_version
from edgemate.exporting.verify import BATCH, open_session

Float = npt.NDArray[np.float32]

# From this opset on, Q/DQ pairs may be float16. TensorRT 8 does not read it; its builder has flags for the mixture.
MIXED_OPSET = 19


@dataclass(frozen=True)
class Converted:
    """A layout in another precision.

    Attributes:
        graphs: the manifest's entries, with the types of the tensors that pass from segment to segment.
        kept_fp32: the nodes that stayed in float32 because they may overflow in float16, as the manifest names them.
    """

    graphs: tuple[Graph, ...]
    kept_fp32: tuple[str, ...]


def convert_layout(folder: Path, graphs: Sequence[Graph], precision: Precision, images: Float) -> Converted:
    """Convert a layout's float32 files to another precision.

    Images and logits stay float32; see `boundaries.py` for features between segments. Every segment is calibrated on
    the outputs of the float32 segments before it, so that an error of one is not hidden in the ranges of the next.

    Args:
        folder: folder that the graphs' file names are relative to.
        graphs: segments in order, or prefixes.
        precision: precision to convert to.
        images: real images after preprocessing, float32 (n, C, H, W).

    Raises:
        ExportError: a graph cannot be converted; one with control flow cannot be float16.
    """
    tensors = {"image": images}
    protos = [onnx.load(folder / graph.file) for graph in graphs]
    for graph, proto in zip(graphs[:-1], protos[:-1], strict=True):
        tensors |= _outputs(proto, graph, {tensor.name: tensors[tensor.name] for tensor in graph.inputs})
    boundaries = choose_boundaries(protos, graphs, precision, tensors)
    kept = []
    for graph, proto in zip(graphs, protos, strict=True):
        path = folder / graph.file
        feeds = {tensor.name: tensors[tensor.name] for tensor in graph.inputs}
        try:
            converted, fragile = convert_graph(proto, precision, feeds, boundaries)
        except ExportError:
            raise
        except Exception as error:  # onnx and ONNX Runtime have no common base class of errors
            reason = " ".join(str(error).split())[:300]
            raise ExportError(f"{graph.file}: cannot be converted to {precision}: {reason}") from error
        files.write_bytes(path, converted.SerializeToString())
        kept += [f"{path.stem}: {node} ({operator})" for node, operator in fragile.items()]
    return Converted(tuple(map(boundaries.of, graphs)), tuple(kept))


def convert_graph(
    proto: ModelProto, precision: Precision, feeds: Mapping[str, Float], boundaries: Boundaries = NO_BOUNDARIES
) -> tuple[ModelProto, dict[str, str]]:
    """One float32 graph in another precision, and the nodes (name → operator) that may overflow in float16.

    Args:
        proto: the graph.
        precision: precision to convert to.
        feeds: its inputs for real images, name → float32 (n, …).
        boundaries: the types of its inputs and outputs that other segments give and take.
    """
    halved = "fp16" in precision
    fragile = fragile_nodes(proto, feeds) if halved else {}
    if precision == "int8+fp16":
        proto = onnx.version_converter.convert_version(proto, MIXED_OPSET)
    if "int8" in precision:
        own = {value.name for value in (*proto.graph.input, *proto.graph.output)}
        proto = to_int8(proto, feeds, {name: scale for name, scale in boundaries.int8.items() if name in own})
    if halved:
        proto = to_float16(proto, fragile, boundaries.float16)
    lower_ir_version(proto)
    return proto, fragile


def _outputs(proto: ModelProto, graph: Graph, feeds: Mapping[str, Float]) -> dict[str, Float]:
    session = open_session(proto.SerializeToString())
    names = [tensor.name for tensor in graph.outputs]
    images = len(next(iter(feeds.values())))
    batches = [
        session.run(names, {name: values[start : start + BATCH] for name, values in feeds.items()})
        for start in range(0, images, BATCH)
    ]
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*batches, strict=True), strict=True)}
