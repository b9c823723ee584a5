"""`ExportedGraph`: a graph on its way into a bundle. Its own file, since what only changes graphs needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from edgemate.bundle import Graph


@dataclass(frozen=True)
class ExportedGraph:
    """A graph and its entry in the manifest."""

    metadata: Graph
    proto: ModelProto
