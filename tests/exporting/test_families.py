"""Networks of timm and torchvision, each cut by its graph, from one training step to ONNX Runtime.

Three of different kinds are in the fast suite; the others are slow.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from graphs import Layouts
from runs import reference_logits

from edgemate.bundle.manifest import Precision
from edgemate.config import Exits, Model
from edgemate.distillation import Batch, Progress, Setting
from edgemate.distillation.methods.mate import MATE
from edgemate.exporting import Limits
from edgemate.exporting.composing import prefix_of
from edgemate.exporting.graphs import export_graphs
from edgemate.exporting.precision import convert_layout
from edgemate.exporting.tensorrt_forms import misread
from edgemate.exporting.verify import check_graph, layout_logits, verify_layout
from edgemate.models import Backbone, MultiExitModel, Tap, build_model, count_costs
from edgemate.models.cost import block_macs
from edgemate.models.graph.cutting import cut_network
from edgemate.models.heads.linear import linear
from edgemate.models.placing import place_exits
from edgemate.registry import BACKBONES

CLASSES = 7
SWIN = "timm/swin_tiny_patch4_window7_224+shallow"
# The side of the images: the smallest of 32, 64, … that leaves maps of more than one place for most of the way, or
# the one size that a network is built for.
SIZES = {
    "timm/tf_efficientnet_lite0": 64,
    "timm/mobilenetv3_small_100": 64,
    "timm/mobilenetv4_conv_small": 64,
    "timm/convnext_atto": 64,
    "timm/densenet121": 64,
    "timm/regnety_002": 64,
    "timm/vit_tiny_patch16_224": 64,
    "timm/deit_tiny_patch16_224": 64,
    "timm/swin_tiny_patch4_window7_224": 224,
    "timm/efficientvit_b0": 64,
    "timm/fastvit_t8": 64,
    "timm/repvit_m0_9": 64,
    "timm/levit_128s": 224,
    "timm/ghostnet_100": 64,
    "timm/edgenext_xx_small": 64,
    "timm/resnet18": 64,
    "timm/resnext50_32x4d": 64,
    "timm/mobilevit_xxs": 64,
    "timm/mobileone_s0": 64,
    "timm/hgnetv2_b0": 64,
    "torchvision/densenet121": 64,
    "torchvision/convnext_tiny": 64,
    "torchvision/vit_b_16": 64,
    "torchvision/shufflenet_v2_x1_0": 64,
    "torchvision/efficientnet_b0": 64,
    "torchvision/regnet_y_400mf": 64,
    "torchvision/googlenet": 64,
    "torchvision/swin_t": 64,
    "torchvision/mnasnet1_0": 64,
}
# Networks with options, named after a plus sign.
OPTIONS = {SWIN: {"arguments": {"depths": [2, 2], "num_heads": [2, 4], "embed_dim": 32}}}
SIZES[SWIN] = 224
# Squeeze-and-excitation, and tokens. Channels-last maps, which Swin has, are converted in the fast suite below.
FAST = {
    "timm/mobilenetv3_small_100",
    "timm/vit_tiny_patch16_224",
}
NAMES = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in SIZES]
HEADS = dict(zip(SIZES, itertools.cycle(("linear", "separable"))))
EXITS = 3


@pytest.mark.parametrize("name", NAMES)
def test_a_network_trains_and_its_graphs_agree_with_it(name: str, tmp_path: Path) -> None:
    """The prefixes are composed of the segments, as an export does it, so chained segments equal them."""
    side = SIZES[name]
    shape = (3, side, side)
    model = built(name)
    assert model.exits == EXITS
    _train_one_step(model, side)
    layouts = _written(model, shape, tmp_path)
    for graph in itertools.chain(*layouts.values()):
        check_graph(tmp_path / graph.file, graph)
        assert misread(onnx.load(tmp_path / graph.file)) == []
    images = np.random.default_rng(0).standard_normal((6, *shape)).astype(np.float32)
    reference = reference_logits(model, images)
    for layout, graphs in layouts.items():  # one image, then the other five
        found = verify_layout(tmp_path, layout, graphs, images, reference, Limits(1e-3, 1.0))
        assert [agreement.agreement for agreement in found] == [1.0] * EXITS
    chained, prefixes = (layout_logits(tmp_path, layout, graphs, images) for layout, graphs in layouts.items())
    np.testing.assert_allclose(chained, prefixes, rtol=0, atol=1e-5 * max(1.0, float(np.abs(prefixes).max())))


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_are_the_whole(name: str) -> None:
    """Chained blocks equal the untouched network bit for bit, and their MACs are its MACs."""
    side = SIZES[name]
    network, backbone = _network_and_backbone(name, (side, side))
    own = backbone.own_head
    assert own is not None
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    features: Any = {"image": images}
    with torch.no_grad():
        for block in backbone.blocks.eval():
            features = block(features)
        assert torch.equal(own.module.eval()(features), network.eval()(images))
    whole = _whole_macs(network, side)
    assert sum(block_macs(backbone, (3, side, side))) == pytest.approx(whole, rel=1e-3)
    at = place_exits(backbone, (3, side, side), EXITS)
    model = MultiExitModel(backbone, at, lambda tap: linear(tap, own.classes), own_last=True)
    assert count_costs(model, (3, side, side)).exits[-1].macs == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("precision", ["fp16", pytest.param("int8", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name",
    [
        SWIN,
        pytest.param("timm/vit_tiny_patch16_224", marks=pytest.mark.slow),
        pytest.param("torchvision/swin_t", marks=pytest.mark.slow),
        pytest.param("torchvision/vit_b_16", marks=pytest.mark.slow),
        pytest.param("timm/mobilevit_xxs", marks=pytest.mark.slow),
        pytest.param("timm/convnext_atto", marks=pytest.mark.slow),
    ],
)
def test_transformers_can_be_converted(name: str, precision: Precision, tmp_path: Path) -> None:
    """Tokens and channels-last maps: attention, normalization and means in float16, and products in int8."""
    side = SIZES[name]
    model = built(name).eval()
    segments = _written(model, (3, side, side), tmp_path)["segments"]
    images = np.random.default_rng(0).standard_normal((8, 3, side, side)).astype(np.float32)
    segments = convert_layout(tmp_path, segments, precision, images).graphs
    operators: Counter[str] = Counter()
    for graph in segments:
        check_graph(tmp_path / graph.file, graph)
        proto = onnx.load(tmp_path / graph.file)
        assert misread(proto) == []
        operators += Counter(node.op_type for node in proto.graph.node)
    assert operators["QuantizeLinear" if precision == "int8" else "Cast"] > EXITS
    limits = Limits(Limits.of(precision).difference, 0.0)  # random weights leave no class clearly first
    verify_layout(tmp_path, "segments", segments, images, reference_logits(model, images), limits)


def built(name: str) -> MultiExitModel:
    torch.manual_seed(0)
    exits = Exits(at="auto", count=EXITS, head=HEADS[name])
    model = Model(backbone=name.partition("+")[0], options=OPTIONS.get(name, {}))
    return build_model(model, exits, 3, CLASSES, (SIZES[name],) * 2)


def _written(model: MultiExitModel, shape: tuple[int, int, int], folder: Path) -> Layouts:
    """Segments, each exported once, and the prefixes that are composed of them."""
    (folder / "onnx").mkdir()
    segments = list(export_graphs(model.eval(), shape, "segments"))
    protos, metadata = [one.proto for one in segments], [one.metadata for one in segments]
    prefixes = [prefix_of(protos[:k], metadata[:k]) for k in range(1, model.exits + 1)]
    for graph in (*segments, *prefixes):
        (folder / graph.metadata.file).write_bytes(graph.proto.SerializeToString())
    return {"segments": tuple(metadata), "prefixes": tuple(one.metadata for one in prefixes)}


def _train_one_step(model: MultiExitModel, side: int) -> None:
    before = copy.deepcopy(model.state_dict())
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, side, side, generator=generator)
    labels = torch.randint(CLASSES, (4,), generator=generator)
    method = MATE(Setting(model.exits, CLASSES, model.pooled_widths))
    optimizer = torch.optim.SGD([*model.parameters(), *method.parameters()], 1e-3)
    model.train()
    loss = method(model.outputs(images), Batch(images, labels), Progress(0, 1, 0.0)).total
    loss.backward()
    gradients = {path: parameter.grad for path, parameter in model.named_parameters()}
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients.values())
    assert sum(gradient is not None for gradient in gradients.values()) > 0.9 * len(gradients)
    optimizer.step()
    moved = {path for path, value in model.state_dict().items() if not torch.equal(value, before[path])}
    for part in (*(f"stages.{k}." for k in range(model.exits)), *(f"heads.{k}." for k in range(model.exits))):
        with_weights = any(path.startswith(part) for path, _ in model.named_parameters())
        assert not with_weights or any(path.startswith(part) for path in moved), part


def _network_and_backbone(name: str, size: tuple[int, int]) -> tuple[torch.nn.Module, Backbone]:
    backbone = name.partition("+")[0]
    _, rest = BACKBONES.library(backbone) or ("", "")
    torch.manual_seed(0)
    network = BACKBONES.get(backbone)(rest, 3, size, False, **OPTIONS.get(name, {})).module
    return network, cut_network(network, name, (3, *size))


def _whole_macs(network: torch.nn.Module, side: int) -> int:
    """MACs of the network that was not cut, counted in the same way."""

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {"features": self.network(features["image"])}

    (macs,) = block_macs(Backbone({"all": Whole()}, {"all": Tap(1, 1, 0)}, None), (3, side, side))
    return macs
