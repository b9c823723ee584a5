"""In place of torch's exporter, which takes seconds: graphs that are there already. Everything after it is as ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgemate.bundle import Bundle
from edgemate.bundle.manifest import Layout
from edgemate.exporting.exported_graph import ExportedGraph

EXPORTER = "edgemate.exporting.targets.onnx.export_graphs"


def graphs_of(
    bundle: Bundle, spoil: Callable[[ExportedGraph], None] = lambda graph: None
) -> Callable[..., Iterator[ExportedGraph]]:
    """An exporter that gives the graphs of a bundle, each `spoil`ed."""

    def export_graphs(model: Any, image_shape: Sequence[int], layout: Layout) -> Iterator[ExportedGraph]:
        for metadata in bundle.manifest.graphs[layout]:
            graph = ExportedGraph(metadata, onnx.load(bundle.file(metadata.file)))
            spoil(graph)
            yield graph

    return export_graphs


def export_each_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second export of the same weights gives the graphs of the first."""
    from edgemate.exporting.targets.onnx import export_graphs as real

    seen: dict[tuple[bytes, ...], list[tuple[Any, bytes]]] = {}

    def export_graphs(model: Any, image_shape: Sequence[int], layout: Layout) -> Iterator[ExportedGraph]:
        weights = b"".join(value.cpu().numpy().tobytes() for value in model.state_dict().values())
        key = (weights, repr(tuple(image_shape)).encode(), layout.encode())
        if key not in seen:
            made = [(graph.metadata, graph.proto.SerializeToString()) for graph in real(model, image_shape, layout)]
            seen[key] = made
        for metadata, content in seen[key]:
            yield ExportedGraph(metadata, onnx.load_from_string(content))

    monkeypatch.setattr(EXPORTER, export_graphs)


def command_with_graphs_of(bundle: Path, number: int, *arguments: str) -> None:
    """For `prepared.running`: `stopped_commands.stop_at`, with a bundle's graphs."""
    from stopped_commands import stop_at

    from edgemate.exporting.targets import onnx as target

    target.export_graphs = graphs_of(Bundle.open(bundle))
    stop_at(number, *arguments)
