"""ONNX graphs of a multi-exit model: segments and prefixes, with named flat tensors and a dynamic batch."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence

import onnx
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.onnx import OnnxExporterError

from edgemate.bundle import Graph, Tensor
from edgemate.bundle.manifest import Layout
from edgemate.errors import ExportError
from edgemate.exporting.exported_graph import ExportedGraph
from edgemate.exporting.ir_version import lower_ir_version
from edgemate.exporting.norms import sum_norms
from edgemate.exporting.pooling import pool_globally
from edgemate.exporting.splitting import split_by_sizes
from edgemate.models import MultiExitModel, Prefix, Segment

# The lowest that torch's exporter writes without conversion. TensorRT 10, 11 and RTX read it. TensorRT 8.5 and 8.6 know
# opset 17 and do not refuse 18, so a graph must not hold an operator that opset 18 changed.
OPSET = 18

# What torch colors words of its messages with.
_ESCAPES = re.compile("\x1b\\[[0-9;]*m")

# With a batch of one, torch.export would treat the batch size as a constant.
EXAMPLE_BATCH = 2


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
    """A segment that takes and gives flat lists of tensors, as an ONNX graph does."""

    def __init__(self, segment: Segment, names: Sequence[str], *, with_features: bool) -> None:
        super().__init__()
        self.segment = segment
        self.names = tuple(names)
        self.with_features = with_features

    def forward(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        features, logits = self.segment(dict(zip(self.names, tensors, strict=True)))
        if not self.with_features:
            return (logits,)
        # A tensor that is input and output would have two names; torch before 2.9 drops the input's.
        outputs = (
            tensor.clone() if any(tensor is given for given in tensors) else tensor for tensor in features.values()
        )
        return (*outputs, logits)


def _export(module: nn.Module, metadata: Graph, example: torch.Tensor | list[torch.Tensor]) -> ExportedGraph:
    try:
        with _quiet():
            try:
                program = _converted(module, metadata, example)
            except OnnxExporterError:
                # Attention with a mask (BEiT) leaves strides that the converter's decomposition does not; with this
                # backend they agree.
                with sdpa_kernel([SDPBackend.MATH]):
                    program = _converted(module, metadata, example)
    except Exception as error:  # the network's own code and the tracer may raise anything
        raise ExportError(f"{metadata.file}: torch cannot export this part of the network: {_reason(error)}") from error
    assert program is not None
    proto = program.model_proto
    _strip_traces(proto)
    pool_globally(proto)
    sum_norms(proto)
    split_by_sizes(proto)
    lower_ir_version(proto)
    return ExportedGraph(metadata, proto)


def _converted(
    module: nn.Module, metadata: Graph, example: torch.Tensor | list[torch.Tensor]
) -> torch.onnx.ONNXProgram | None:
    # Without a largest size torch 2.7 refuses attention, whose guard says that the batch is not the largest integer.
    batch = torch.export.Dim("batch", max=1 << 31)
    sizes = [{0: batch} for _ in example] if isinstance(example, list) else {0: batch}
    # Given the module itself, torch.onnx falls back when torch.export refuses, before 2.9 as far as a trace, which
    # freezes a branch that depends on the image.
    exported = torch.export.export(module.eval(), (example,), dynamic_shapes=(sizes,), strict=False)
    return torch.onnx.export(
        exported,
        dynamic_shapes=(sizes,),
        dynamo=True,
        opset_version=OPSET,
        external_data=False,
        input_names=[tensor.name for tensor in metadata.inputs],
        output_names=[tensor.name for tensor in metadata.outputs],
        verbose=False,
    )


def _reason(error: BaseException) -> str:
    """What went wrong, in one line. The converter's own error is a page of advice; what it is caused by says it."""
    while isinstance(error, OnnxExporterError) and error.__cause__ is not None:
        error = error.__cause__
    return " ".join(_ESCAPES.sub("", str(error)).split())[:300] or type(error).__name__


def _strip_traces(proto: onnx.ModelProto) -> None:
    """Remove torch's annotations of every node: stack traces with paths of this machine."""
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
def _quiet() -> Iterator[None]:
    """Silence the exporter's log and warnings about its own internals; its errors are still raised."""
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
