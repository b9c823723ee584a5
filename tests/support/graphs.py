"""All layouts of a network on disk, without a run behind them."""

from __future__ import annotations

from pathlib import Path

import onnx

from edgemate.bundle import Graph
from edgemate.bundle.manifest import Layout
from edgemate.exporting.conditional import conditional_graph
from edgemate.exporting.exported_graph import ExportedGraph
from edgemate.exporting.graphs import export_graphs
from edgemate.models import MultiExitModel

Layouts = dict[Layout, tuple[Graph, ...]]


def write_layouts(model: MultiExitModel, shape: tuple[int, int, int], folder: Path) -> Layouts:
    """Segments and prefixes in float32 for images of `shape`."""
    (folder / "onnx").mkdir(parents=True)
    graphs: Layouts = {}
    for layout in ("segments", "prefixes"):
        made = list(export_graphs(model, shape, layout))
        for graph in made:
            _write(graph, folder)
        graphs[layout] = tuple(graph.metadata for graph in made)
    return graphs


def write_conditional(segments: tuple[Graph, ...], folder: Path) -> Graph:
    """The conditional graph, from the segments as they are."""
    made = conditional_graph([onnx.load(folder / graph.file) for graph in segments], segments)
    _write(made, folder)
    return made.metadata


def _write(graph: ExportedGraph, folder: Path) -> None:
    (folder / graph.metadata.file).write_bytes(graph.proto.SerializeToString())
