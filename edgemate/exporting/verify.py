"""Proof that graphs compute what the network computes, on real images, in ONNX Runtime on the CPU."""

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
from edgemate.errors import ExportError
from edgemate.exporting.agreement import Agreement, Limits
from edgemate.exporting.rounding import with_rounding
from edgemate.wording import counted

Float = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

BATCH = 32


def check_graph(path: Path, metadata: Graph) -> None:
    """Check one ONNX file with `onnx.checker`, and its inputs and outputs against what the manifest will say.

    Raises:
        ExportError: it is no valid graph, or a name, type or shape differs; a batch that is not dynamic is one.
    """
    proto = onnx.load(path)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{metadata.file}: is no valid ONNX graph: {' '.join(str(error).split())}") from error
    for declared, actual in ((metadata.inputs, proto.graph.input), (metadata.outputs, proto.graph.output)):
        promised = [(tensor.name, tensor.shape) for tensor in declared]
        found = [(value.name, _shape(value)) for value in actual]
        if promised != found:
            raise ExportError(f"{metadata.file}: has tensors {found} where {promised} were to be")


def verify_layout(
    folder: Path,
    layout: Layout,
    graphs: Sequence[Graph],
    images: Float,
    reference: Float,
    limits: Limits,
    labels: Labels | None = None,
) -> tuple[Agreement, ...]:
    """Run a layout's graphs on real images, one alone and the rest in batches, and compare every exit.

    Args:
        folder: what the graphs' file names are relative to.
        layout: segments are chained, each fed with what the one before it gave; prefixes are run from the image; the
            conditional graph is made to stop at every exit in turn.
        graphs: one per exit, in order, or the one conditional graph.
        images: float32 (n, C, H, W).
        reference: the network's logits, float32 (n, K, C).
        limits: what is refused.
        labels: int64 (n,), to compare the accuracy too.

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


def layout_logits(folder: Path, layout: Layout, graphs: Sequence[Graph], images: Float) -> Float:
    """What a layout's graphs say of images (n, C, H, W) at every exit, float16 rounded: float32 (n, K, classes)."""
    protos = [onnx.load(folder / graph.file) for graph in graphs]
    if layout == "conditional":  # in float16 its segments were looked at by themselves
        return _run_conditional(open_session(protos[0].SerializeToString()), images, graphs[0].exit)
    sessions = [open_session(with_rounding(proto).SerializeToString()) for proto in protos]
    batches = [images[:1], *(images[start : start + BATCH] for start in range(1, len(images), BATCH))]
    return np.concatenate([_run(sessions, graphs, batch) for batch in batches])


def open_session(graph: Path | bytes) -> onnxruntime.InferenceSession:
    """A session for a file, or for a serialized graph, on the CPU and without chatter."""
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
    difference = float(np.abs(logits - reference).max())
    limit = limits.difference * max(1.0, float(np.abs(reference).max()))
    differing = int((logits.argmax(1) != reference.argmax(1)).sum())
    agreement = 1 - differing / len(logits)
    if difference > limit:
        raise ExportError(
            f"{where}: the largest difference from the network is {difference:.3g} over "
            f"{counted(len(logits), 'image')}; "
            f"the limit is {limit:.3g} (tolerance {limits.difference:g})"
        )
    if _beyond_chance(differing, differing, limit=1 - limits.agreement, images=len(logits)):
        raise ExportError(
            f"{where}: top-1 agrees with the network for {agreement:.2%} of {counted(len(logits), 'image')}; "
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
    return Agreement(exit, difference, limit, agreement, change, len(logits))


def _beyond_chance(count: int, changed: int, *, limit: float, images: int) -> bool:
    """Whether a count over so many images is more than the limit, a share of them, and its standard error allow.

    Of few images one or two more differ by chance; the standard error is the root of how many changed at all.
    """
    return count > limit * images + math.sqrt(changed)


def _run(sessions: Sequence[onnxruntime.InferenceSession], graphs: Sequence[Graph], images: Float) -> Float:
    """Logits (n, K, C) of all graphs, in order."""
    tensors: dict[str, Any] = {"image": images}
    for session, graph in zip(sessions, graphs, strict=True):
        outputs = session.run(None, {tensor.name: tensors[tensor.name] for tensor in graph.inputs})
        tensors.update(zip((tensor.name for tensor in graph.outputs), outputs, strict=True))
    return np.stack([tensors[f"logits_{graph.exit}"] for graph in graphs], axis=1)


def _run_conditional(session: onnxruntime.InferenceSession, images: Float, exits: int) -> Float:
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
