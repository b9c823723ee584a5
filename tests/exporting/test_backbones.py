"""One small network of each family for 32×32, from PyTorch to ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from runs import reference_logits

from edgemate.config import Exits, Model
from edgemate.exporting import Limits
from edgemate.exporting.graphs import export_graphs
from edgemate.exporting.verify import check_graph, verify_layout
from edgemate.models import build_model

NETWORKS = {
    "resnet20": (Model(backbone="resnet20", options={"width": 4}), Exits(at=["stage1.1", "stage3"], head="bottleneck")),
    "wide_resnet": (
        Model(backbone="wide_resnet", options={"depth": 10, "width": 1}),
        Exits(at=["group1", "group3"], head="conv"),
    ),
    "vgg11_bn": (Model(backbone="vgg11_bn"), Exits(at=["pool3", "pool5"])),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_segments_say_what_the_network_says(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model(*NETWORKS[name], channels=3, classes=5).eval()
    images = np.random.default_rng(0).standard_normal((5, 3, 32, 32)).astype(np.float32)
    graphs = []
    for graph in export_graphs(model, (3, 32, 32), "segments"):
        path = tmp_path / graph.metadata.file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(graph.proto.SerializeToString())
        check_graph(path, graph.metadata)
        graphs.append(graph.metadata)
    verify_layout(tmp_path, "segments", graphs, images, reference_logits(model, images), Limits(1e-4, 1.0))
