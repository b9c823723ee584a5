"""Every layout in every precision, parsed and built by the real TensorRT-RTX, which needs no GPU for it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import Layouts, write_conditional, write_layouts

from edgemate.bundle.manifest import Precision
from edgemate.config import Exits, Model
from edgemate.exporting.precision import convert_layout
from edgemate.exporting.verify import check_graph
from edgemate.models import build_model
from edgemate.runtime.backends.tensorrt.builder import build_engine
from edgemate.runtime.backends.tensorrt.compat import load_tensorrt
from edgemate.runtime.backends.tensorrt.options import BatchRange, BuildOptions

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheel for this Python or system")
pytestmark = pytest.mark.tensorrt

# A100, RTX 30, RTX 40 and RTX 50 series.
COMPUTE_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")

NETWORKS: dict[str, tuple[Model, Exits, tuple[int, int, int]]] = {
    "digits": (Model(backbone="resnet8"), Exits(head="bottleneck"), (1, 16, 16)),
    "fashion_mnist": (Model(backbone="resnet8"), Exits(head="bottleneck"), (1, 28, 28)),
    "resnet18": (Model(backbone="resnet18"), Exits(), (3, 64, 64)),
    "mobilenet_v3_small": (Model(backbone="mobilenet_v3_small"), Exits(head="separable"), (3, 64, 64)),
}


@dataclass(frozen=True)
class Network:
    folder: Path
    graphs: Layouts
    shape: tuple[int, int, int]


# Those of the slow suite take most of the time.
SLOW = {"fashion_mnist", "resnet18", "mobilenet_v3_small"}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NETWORKS]
)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    torch.manual_seed(0)
    backbone, exits, shape = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    return Network(folder, write_layouts(build_model(backbone, exits, shape[0], 10), shape, folder), shape)


@pytest.mark.parametrize(
    "precision",
    ["fp32", pytest.param("fp16", marks=pytest.mark.slow), pytest.param("int8", marks=pytest.mark.slow), "int8+fp16"],
)
def test_every_layout_builds(network: Network, precision: Precision, tmp_path: Path) -> None:
    shutil.copytree(network.folder / "onnx", tmp_path / "onnx")
    images = np.random.default_rng(0).standard_normal((8, *network.shape)).astype(np.float32)
    layouts = dict(network.graphs)
    if precision != "fp32":
        layouts = {
            layout: convert_layout(tmp_path, graphs, precision, images).graphs for layout, graphs in layouts.items()
        }
    conditional = write_conditional(layouts["segments"], tmp_path)
    options = BuildOptions(batch=BatchRange(1, 1, 8), compute_capabilities=COMPUTE_CAPABILITIES)
    trt = load_tensorrt("tensorrt_rtx")
    for graph in (*layouts["segments"], *layouts["prefixes"], conditional):
        check_graph(tmp_path / graph.file, graph)
        plan = build_engine(trt, tmp_path / graph.file, options, precision)
        assert len(plan) > 1000, graph.file
