"""Verifies that graphs compute the same as the network, on real images, in ONNX Runtime on the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from edgemate.bundle import Graph
from edgemate.bundle.manifest import Layout
from edgemate.bundle.onnx_graph import check_graph as check_content
from edgemate.core.agreement import compare_logits
from edgemate.errors import BundleError, ExportError
from edgemate.exporting.agreement import Agreement, Limits
from edgemate.exporting.rounding import with_rounding
from edgemate.wording import counted

Float = npt.NDArray[np.float32]
Images = npt.NDArray[np.float32] | npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

BATCH = 32


def check_graph(path: Path, metadata: Graph) -> None:
    """Check one ONNX file with `onnx.checker` and as a device does, and its inputs and outputs against the manifest.

    Raises:
        ExportError: the graph is not valid, has what no bundle may have, or a name, type or shape differs, such as a
            batch that is not dynamic.
    """
    proto = onnx.load(path)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{metadata.file}: not a valid ONNX graph: {' '.join(str(error).split())}") from error
    try:
        check_content(path, branches=any(tensor.name == "thresholds" for tensor in metadata.inputs))
    except BundleError as error:
        raise ExportError(f"{error}, so no device would load it; replace the layer that needs it") from error
    for declared, actual in ((metadata.inputs, proto.graph.input), (metadata.outputs, proto.graph.output)):
        expected = [(tensor.name, tensor.dtype, tensor.shape) for tensor in declared]
        found = [(value.name, _dtype(value), _shape(value)) for value in actual]
        if expected != found:
            raise ExportError(f"{metadata.file}: has tensors {found} instead of {expected}")


def verify_layout(
    folder: Path,
    layout: Layout,
    graphs: Sequence[Graph],
    images: Images,
    reference: Float,
    limits: Limits,
    labels: Labels | None = None,
) -> tuple[Agreement, ...]:
    """Run a layout's graphs on real images, one alone and the rest in batches, and compare every exit.

    Args:
        folder: folder that the graphs' file names are relative to.
        layout: segments are chained, each with the outputs of the one before it; prefixes are run from the image; the
            conditional graph is run once per exit, with thresholds that lead to it.
        graphs: one per exit, in order, or the one conditional graph.
        images: float32 (n, C, H, W), or uint8 (n, H, W, C) where the graphs take that.
        reference: the network's logits, float32 (n, K, C).
        limits: limits on the difference.
        labels: int64 (n,); if given, the accuracy is compared too.

    Returns:
        One entry per exit.

    Raises:
        ExportError: a graph cannot be run, an exit is over a limit, or a logit is not finite. The message names the
            layout, the exit, the figure and the limit.
    """
    try:
        logits = layout_logits(folder, layout, graphs, images)
    except ExportError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions have no public base class
        raise ExportError(f"{layout}: ONNX Runtime cannot run the graphs: {' '.join(str(error).split())}") from error
    exits = range(reference.shape[1])
    return tuple(_compare(layout, k + 1, logits[:, k], reference[:, k], labels, limits) for k in exits)


def layout_logits(folder: Path, layout: Layout, graphs: Sequence[Graph], images: Images) -> Float:
    """Logits of a layout's graphs on images (n, C, H, W), with float16 values rounded: float32 (n, K, classes)."""
    protos = [onnx.load(folder / graph.file) for graph in graphs]
    if layout == "conditional":  # its segments have been verified by themselves, rounded
        return _run_conditional(open_session(protos[0].SerializeToString()), images, graphs[0].exit)
    sessions = [open_session(with_rounding(proto).SerializeToString()) for proto in protos]
    batches = [images[:1], *(images[start : start + BATCH] for start in range(1, len(images), BATCH))]
    return np.concatenate([_run(sessions, graphs, batch) for batch in batches])


def open_session(graph: Path | bytes) -> onnxruntime.InferenceSession:
    """An inference session for a file or a serialized graph, on the CPU, that logs errors only."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    given = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def _compare(
    layout: Layout, exit: int, logits: Float, reference: Float, labels: Labels | None, limits: Limits
) -> Agreement:
    where = f"{layout}, exit {exit}"
    for whose, values in (("the network's", reference), ("the graph's", logits)):
        broken = int((~np.isfinite(values)).any(1).sum())
        if broken:
            raise ExportError(
                f"{where}: {whose} logits are not finite for {broken} of "
                f"{counted(len(values), 'image')}; the limit is 0"
            )
    found = compare_logits(logits, reference, limits.difference)
    if found.largest_difference > found.limit:
        raise ExportError(
            f"{where}: the largest difference from the network is {found.largest_difference:.3g} over "
            f"{counted(len(logits), 'image')}; "
            f"the limit is {found.limit:.3g} (tolerance {limits.difference:g})"
        )
    if _beyond_chance(found.differing, found.differing, limit=1 - limits.agreement, images=len(logits)):
        raise ExportError(
            f"{where}: top-1 agrees with the network for {found.agreement:.2%} of {counted(len(logits), 'image')}; "
            f"the limit is {limits.agreement:.2%}"
        )
    change = None
    if labels is not None:
        right, wanted = (values.argmax(1) == labels for values in (logits, reference))
        fall = int(wanted.sum()) - int(right.sum())
        change = -fall / len(labels)
        if _beyond_chance(fall, int((right != wanted).sum()), limit=limits.accuracy_loss, images=len(labels)):
            raise ExportError(
                f"{where}: top-1 accuracy falls by {100 * -change:.2f} points over {counted(len(labels), 'image')}; "
                f"the limit is {100 * limits.accuracy_loss:.2f} (tolerance {limits.difference:g})"
            )
    return Agreement(exit, found.largest_difference, found.limit, found.agreement, change, found.images)


def _beyond_chance(count: int, changed: int, *, limit: float, images: int) -> bool:
    """Whether a count exceeds `limit`, a fraction of the images, by more than its standard error.

    Among few images one or two differ by chance. The standard error is the square root of `changed`.
    """
    return count > limit * images + math.sqrt(changed)


def _run(sessions: Sequence[onnxruntime.InferenceSession], graphs: Sequence[Graph], images: Images) -> Float:
    """Logits (n, K, C) of all graphs, in order."""
    tensors: dict[str, Any] = {"image": images}
    for session, graph in zip(sessions, graphs, strict=True):
        outputs = session.run(None, {tensor.name: tensors[tensor.name] for tensor in graph.inputs})
        tensors.update(zip((tensor.name for tensor in graph.outputs), outputs, strict=True))
    return np.stack([tensors[f"logits_{graph.exit}"] for graph in graphs], axis=1)


def _run_conditional(session: onnxruntime.InferenceSession, images: Images, exits: int) -> Float:
    """Logits (n, K, C): a threshold of 0 stops every image, one of 1 none."""
    logits = []
    for image in range(len(images)):
        for exit in range(1, exits + 1):
            thresholds = (np.arange(1, exits) < exit).astype(np.float32)
            given, taken = session.run(
                ["logits", "exit"], {"image": images[image : image + 1], "thresholds": thresholds}
            )
            if taken.tolist() != [exit]:
                raise ExportError(f"conditional, exit {exit}: thresholds {thresholds.tolist()} led to exit {taken[0]}")
            logits.append(given[0])
    return np.reshape(logits, (len(images), exits, -1))


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim)


def _dtype(value: onnx.ValueInfoProto) -> str:
    return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
