"""ONNX graphs of a multi-exit model: segments and prefixes, with named flat tensors and a dynamic batch."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import onnx
import torch
from torch import nn

from edgemate.bundle import Graph, Tensor
from edgemate.bundle.manifest import Layout
from edgemate.errors import ExportError
from edgemate.exporting.ir_version import lower_ir_version
from edgemate.exporting.pooling import pool_globally
from edgemate.models import MultiExitModel, Prefix, Segment

# The lowest that torch's exporter writes by itself; higher gains nothing here. TensorRT 10, 11 and RTX read it.
# TensorRT 8.5 and 8.6 know opset 17: they take no offence at 18, so what opset 18 changed must not be in a graph.
OPSET = 18

# A batch of one can be frozen into the graph, for torch.export takes a size of one for a constant.
EXAMPLE_BATCH = 2


@dataclass(frozen=True)
class ExportedGraph:
    """A graph as the manifest describes it, and the graph itself."""

    metadata: Graph
    proto: onnx.ModelProto


def export_graphs(model: MultiExitModel, image_shape: Sequence[int], layout: Layout) -> Iterator[ExportedGraph]:
    """The graphs of a layout, exit by exit, in float32.

    Segment k takes what segment k−1 gives: each feature tensor `<name>_<k−1>`, the first segment `image`. It gives
    `<name>_<k>` for each feature tensor and `logits_<k>`; the last gives only its logits. Prefix k takes `image` and
    gives `logits_<k>`.

    Args:
        model: on the CPU; it is put into evaluation mode.
        image_shape: (C, H, W).
        layout: `segments` or `prefixes`.

    Raises:
        ExportError: torch cannot export the network; the message names the graph.
    """
    model.eval()
    return _LAYOUTS[layout](model, torch.zeros(EXAMPLE_BATCH, *image_shape))


def _segments(model: MultiExitModel, image: torch.Tensor) -> Iterator[ExportedGraph]:
    features, names = {"image": image}, ["image"]
    for exit in range(1, model.exits + 1):
        last = exit == model.exits
        segment = Segment(model, exit)
        flat = _FlatSegment(segment, list(features), with_features=not last)
        with torch.no_grad():
            given, logits = segment(features)
        outputs = {} if last else {f"{name}_{exit}": tensor for name, tensor in given.items()}
        yield _export(
            flat,
            Graph(
                exit=exit,
                file=f"onnx/segment_{exit}.onnx",
                inputs=_tensors(dict(zip(names, features.values(), strict=True))),
                outputs=_tensors({**outputs, f"logits_{exit}": logits}),
            ),
            list(features.values()),
        )
        features, names = given, list(outputs)


def _prefixes(model: MultiExitModel, image: torch.Tensor) -> Iterator[ExportedGraph]:
    for exit in range(1, model.exits + 1):
        prefix = Prefix(model, exit)
        with torch.no_grad():
            logits = prefix(image)
        metadata = Graph(
            exit=exit,
            file=f"onnx/prefix_{exit}.onnx",
            inputs=_tensors({"image": image}),
            outputs=_tensors({f"logits_{exit}": logits}),
        )
        yield _export(prefix, metadata, image)


_LAYOUTS: dict[Layout, Callable[[MultiExitModel, torch.Tensor], Iterator[ExportedGraph]]] = {
    "segments": _segments,
    "prefixes": _prefixes,
}


class _FlatSegment(nn.Module):
    """A segment over a flat list of tensors, as a graph has them."""

    def __init__(self, segment: Segment, names: Sequence[str], *, with_features: bool) -> None:
        super().__init__()
        self.segment = segment
        self.names = tuple(names)
        self.with_features = with_features

    def forward(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        features, logits = self.segment(dict(zip(self.names, tensors, strict=True)))
        if not self.with_features:
            return (logits,)
        # One tensor cannot have two names, which torch before 2.9 gives up the input's for.
        handed_on = (
            tensor.clone() if any(tensor is given for given in tensors) else tensor for tensor in features.values()
        )
        return (*handed_on, logits)


def _export(module: nn.Module, metadata: Graph, example: torch.Tensor | list[torch.Tensor]) -> ExportedGraph:
    batch = torch.export.Dim("batch")
    sizes = [{0: batch} for _ in example] if isinstance(example, list) else {0: batch}
    try:
        with _without_chatter():
            # Given the module itself, torch.onnx would go on where torch.export refuses, up to a trace (before 2.9) in
            # which a branch that depends on the image is frozen as the example took it.
            exported = torch.export.export(module.eval(), (example,), dynamic_shapes=(sizes,), strict=False)
            program = torch.onnx.export(
                exported,
                dynamic_shapes=(sizes,),
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                input_names=[tensor.name for tensor in metadata.inputs],
                output_names=[tensor.name for tensor in metadata.outputs],
                verbose=False,
            )
    except Exception as error:  # torch.export raises whatever the network's own code or the tracer does
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"{metadata.file}: torch cannot export this part of the network: {reason}") from error
    assert program is not None
    proto = program.model_proto
    _strip_traces(proto)
    pool_globally(proto)
    lower_ir_version(proto)
    return ExportedGraph(metadata, proto)


def _strip_traces(proto: onnx.ModelProto) -> None:
    """Drop the notes that torch leaves on every node: stack traces, with the paths of the machine they come from."""
    for graph in (proto.graph, *proto.functions):
        del graph.metadata_props[:]
        for item in (*graph.node, *graph.value_info):
            del item.metadata_props[:]
            item.ClearField("doc_string")
    for item in (*proto.graph.initializer, *proto.graph.input, *proto.graph.output):
        del item.metadata_props[:]
        item.ClearField("doc_string")


def _tensors(tensors: dict[str, torch.Tensor]) -> tuple[Tensor, ...]:
    return tuple(Tensor(name=name, shape=("batch", *tensor.shape[1:])) for name, tensor in tensors.items())


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep the exporter's notices, which are about its own insides, off the screen; its errors are raised anyway."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
