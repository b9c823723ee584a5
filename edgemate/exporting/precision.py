"""Precision in the graph, the same for every TensorRT and for ONNX Runtime: `fp32`, `fp16`, `int8`, `int8+fp16`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto

from edgemate import files
from edgemate.bundle import Graph
from edgemate.bundle.manifest import Precision
from edgemate.errors import ExportError
from edgemate.exporting.fp16 import fragile_nodes, to_float16
from edgemate.exporting.int8 import to_int8
from edgemate.exporting.ir_version import lower_ir_version
from edgemate.exporting.verify import BATCH, open_session

Float = npt.NDArray[np.float32]

# From here on Q/DQ pairs may be float16. TensorRT 8 does not read it, which has builder flags for the mixture instead.
MIXED_OPSET = 19


def convert_layout(folder: Path, graphs: Sequence[Graph], precision: Precision, images: Float) -> tuple[str, ...]:
    """Rewrite a layout's float32 files in another precision. What they take and give stays float32.

    Every segment is calibrated on what the float32 segments before it give, so an error of one is not hidden in the
    ranges of the next.

    Args:
        folder: what the graphs' file names are relative to.
        graphs: segments in order, or prefixes.
        precision: what to write.
        images: real images, float32 (n, C, H, W).

    Returns:
        The nodes that stayed in float32 because float16 might not hold them, as the manifest names them.

    Raises:
        ExportError: a graph cannot be converted; one with control flow cannot be float16.
    """
    tensors = {"image": images}
    kept = []
    for graph in graphs:
        path = folder / graph.file
        proto = onnx.load(path)
        feeds = {tensor.name: tensors[tensor.name] for tensor in graph.inputs}
        if graph is not graphs[-1]:
            tensors |= _outputs(proto, graph, feeds)
        try:
            converted, fragile = convert_graph(proto, precision, feeds)
        except ExportError:
            raise
        except Exception as error:  # neither onnx nor the quantizer has a base class for what it cannot do
            reason = " ".join(str(error).split())[:300]
            raise ExportError(f"{graph.file}: cannot be converted to {precision}: {reason}") from error
        files.write_bytes(path, converted.SerializeToString())
        kept += [f"{path.stem}: {node} ({operator})" for node, operator in fragile.items()]
    return tuple(kept)


def convert_graph(
    proto: ModelProto, precision: Precision, feeds: Mapping[str, Float]
) -> tuple[ModelProto, dict[str, str]]:
    """One float32 graph in another precision, and the nodes (name → operator) that float16 might not hold.

    Args:
        proto: the graph.
        precision: the wanted one.
        feeds: its inputs for real images, input → float32 (n, …).
    """
    halved = "fp16" in precision
    fragile = fragile_nodes(proto, feeds) if halved else {}
    if precision == "int8+fp16":
        proto = onnx.version_converter.convert_version(proto, MIXED_OPSET)
    if "int8" in precision:
        proto = to_int8(proto, feeds)
    if halved:
        proto = to_float16(proto, fragile)
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
