from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from runs import reference_logits
from two_tensors import two_tensor_model

from edgemate.config import Exits, Model
from edgemate.exporting import Limits
from edgemate.exporting.composing import prefix_of
from edgemate.exporting.exported_graph import ExportedGraph
from edgemate.exporting.graphs import export_graphs
from edgemate.exporting.verify import check_graph, verify_layout
from edgemate.models import MultiExitModel, build_model, mean_mixing


def mobilenet(head: str = "separable") -> MultiExitModel:
    torch.manual_seed(0)
    exits = Exits(head=head, at=["features.3", "features.8", "features.12"])
    return build_model(Model(backbone="mobilenet_v3_small"), exits, channels=1, classes=4)


def inverted_residual() -> MultiExitModel:
    return mobilenet("inverted_residual")


def mixing() -> MultiExitModel:
    torch.manual_seed(0)
    model = build_model(Model(backbone="resnet8", options={"width": 4}), Exits(head="linear"), channels=1, classes=4)
    model.set_mixing(mean_mixing(model.exits))
    return model


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (two_tensor_model, 8),
        (mixing, 8),
        pytest.param(mobilenet, 32, marks=pytest.mark.slow),
        pytest.param(inverted_residual, 32, marks=pytest.mark.slow),
    ],
    ids=["two-tensors", "mixing", "mobilenet", "inverted-residual"],
)
def test_a_composed_prefix_agrees_with_the_network_and_runs_nothing_else(
    model: object, size: int, tmp_path: Path
) -> None:
    network = model().eval()  # type: ignore[operator]
    segments = list(export_graphs(network, (1, size, size), "segments"))
    exits = range(1, network.exits + 1)
    composed = [prefix_of([one.proto for one in segments[:k]], [one.metadata for one in segments[:k]]) for k in exits]
    exported = list(export_graphs(network, (1, size, size), "prefixes"))
    for ours, theirs in zip(composed, exported, strict=True):
        assert ours.metadata == theirs.metadata
        assert work(ours) == work(theirs)
    images = np.random.default_rng(0).standard_normal((5, 1, size, size)).astype(np.float32)
    write(composed, tmp_path)
    metadata = [graph.metadata for graph in composed]
    verify_layout(tmp_path, "prefixes", metadata, images, reference_logits(network, images), Limits(1e-5, 1.0))


def work(graph: ExportedGraph) -> Counter[str]:
    """How often each operator occurs that costs something."""
    free = {"Identity", "Reshape", "Flatten", "Shape", "Gather", "Concat", "Constant", "Unsqueeze", "Squeeze", "Slice"}
    return Counter(node.op_type for node in graph.proto.graph.node if node.op_type not in free)


def write(graphs: Sequence[ExportedGraph], folder: Path) -> None:
    (folder / "onnx").mkdir()
    for graph in graphs:
        onnx.save(graph.proto, folder / graph.metadata.file)
        check_graph(folder / graph.metadata.file, graph.metadata)
