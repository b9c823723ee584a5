"""Networks of timm and torchvision, each cut by its graph, from one training step to ONNX Runtime.

A few of different kinds are in the fast suite; the others are slow.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graphs import write_layouts
from runs import reference_logits

from edgemate.config import Exits, Model
from edgemate.distillation import Batch, Progress, Setting
from edgemate.distillation.methods.mate import MATE
from edgemate.exporting import Limits
from edgemate.exporting.verify import check_graph, verify_layout
from edgemate.models import Backbone, MultiExitModel, Tap, build_model, count_costs
from edgemate.models.cost import block_macs
from edgemate.models.graph.cutting import cut_network
from edgemate.registry import BACKBONES

CLASSES = 7
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
FAST = {
    "timm/mobilenetv3_small_100",
    "timm/vit_tiny_patch16_224",
    "timm/efficientvit_b0",
    "torchvision/shufflenet_v2_x1_0",
}
NAMES = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in SIZES]


def built(name: str, head: str = "linear") -> MultiExitModel:
    torch.manual_seed(0)
    return build_model(Model(backbone=name), Exits(at="auto", count=3, head=head), 3, CLASSES, (SIZES[name],) * 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_trains_and_its_graphs_agree_with_it(name: str, tmp_path: Path) -> None:
    side = SIZES[name]
    model = built(name)
    assert model.exits == 3
    _train_one_step(model, side)
    shape = (3, side, side)
    layouts = write_layouts(model.eval(), shape, tmp_path)
    for batch in (1, 5):
        images = np.random.default_rng(batch).standard_normal((batch, *shape)).astype(np.float32)
        reference = reference_logits(model, images)
        for layout, graphs in layouts.items():
            for graph in graphs:
                check_graph(tmp_path / graph.file, graph)
            found = verify_layout(tmp_path, layout, graphs, images, reference, Limits(1e-3, 1.0))
            assert [agreement.agreement for agreement in found] == [1.0] * 3


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_are_the_whole(name: str) -> None:
    """Chained blocks equal the untouched network bit for bit, and their MACs are its MACs."""
    side = SIZES[name]
    network, backbone = _network_and_backbone(name, (side, side))
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    features: Any = {"image": images}
    with torch.no_grad():
        for block in backbone.blocks.eval():
            features = block(features)
        logits = backbone.own_head.module.eval()(features)
        assert torch.equal(logits, network.eval()(images))
    whole = _whole_macs(network, side)
    assert sum(block_macs(backbone, (3, side, side))) == pytest.approx(whole, rel=1e-3)
    costs = count_costs(built(name), (3, side, side)).exits
    new_classifier = (1000 - CLASSES) * backbone.own_head.width * len(backbone.own_head.layers)
    assert costs[-1].macs == pytest.approx(whole - new_classifier, rel=1e-3)


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
    optimizer.step()
    moved = {path for path, value in model.state_dict().items() if not torch.equal(value, before[path])}
    for part in (*(f"stages.{k}." for k in range(model.exits)), *(f"heads.{k}." for k in range(model.exits))):
        with_weights = any(path.startswith(part) for path, _ in model.named_parameters())
        assert not with_weights or any(path.startswith(part) for path in moved), part


def _network_and_backbone(name: str, size: tuple[int, int]) -> tuple[torch.nn.Module, Backbone]:
    _, rest = BACKBONES.library(name) or ("", "")
    torch.manual_seed(0)
    network = BACKBONES.get(name)(rest, 3, size, False).module
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
