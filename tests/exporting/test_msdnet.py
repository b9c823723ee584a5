"""MSDNet, whose cuts pass one tensor per scale, from PyTorch to ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from runs import reference_logits

from edgemate.bundle.manifest import Layout
from edgemate.config import Exits, Model
from edgemate.exporting import Limits
from edgemate.exporting.graphs import export_graphs
from edgemate.exporting.verify import check_graph, layout_logits, verify_layout
from edgemate.models import build_model

OPTIONS = {"blocks": 3, "base": 2, "step": 1, "channels": 4, "growth": 2}
FOUR_SCALES = {"growth_factors": [1, 2, 4, 4], "bottleneck_factors": [1, 2, 4, 4]}
NETWORKS = {
    "cifar": (OPTIONS, 32),
    "imagenet": (
        OPTIONS | {"growth_factors": [1, 2, 4, 4], "bottleneck_factors": [1, 2, 4, 4], "stem": "imagenet"},
        64,
    ),
}


@pytest.mark.parametrize("layout", ["segments", pytest.param("prefixes", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["cifar", pytest.param("imagenet", marks=pytest.mark.slow)])
def test_graphs_agree_with_the_network_for_one_image_and_for_five(name: str, layout: Layout, tmp_path: Path) -> None:
    options, size = NETWORKS[name]
    torch.manual_seed(0)
    model = build_model(Model(backbone="msdnet", options=options), Exits(head="msdnet"), 3, 7).eval()
    images = np.random.default_rng(0).standard_normal((6, 3, size, size)).astype(np.float32)
    graphs = []
    for graph in export_graphs(model, (3, size, size), layout):
        path = tmp_path / graph.metadata.file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(graph.proto.SerializeToString())
        check_graph(path, graph.metadata)
        graphs.append(graph.metadata)
    reference = reference_logits(model, images)
    verify_layout(tmp_path, layout, graphs, images, reference, Limits(1e-4, 1.0))  # one image, then the other five
    assert np.array_equal(layout_logits(tmp_path, layout, graphs, images).argmax(-1), reference.argmax(-1))
    if layout == "segments":
        passed = [[tensor.name for tensor in graph.inputs] for graph in graphs]
        scales = ["scale1", "scale2"] if name == "cifar" else ["scale1", "scale2", "scale3"]
        assert passed[0] == ["image"]
        assert passed[1] == [f"{scale}_1" for scale in scales[-2:]] + ["features_1"]
        assert passed[2] == [f"{scales[-1]}_2", "features_2"]
