"""MACs of networks that are cut, beside those that torchvision publishes with its weights."""

from __future__ import annotations

import pytest
import torch
from torchvision import models

from edgemate.models.cost import block_macs
from edgemate.models.graph.cutting import cut_network

SHAPE = (3, 224, 224)
FAST = {"resnet18", "mobilenet_v3_small"}
NAMES = (
    *("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small"),
    *("densenet121", "efficientnet_b0", "convnext_tiny", "vit_b_16"),
    *("mnasnet1_0", "mobilenet_v3_large", "regnet_y_400mf", "resnext50_32x4d"),
    *("shufflenet_v2_x1_0", "swin_t", "vgg11_bn"),
)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in NAMES])
def test_the_blocks_and_the_classifier_add_up_to_the_published_macs(name: str) -> None:
    published = models.get_model_weights(name).DEFAULT.meta["_ops"] * 1e9
    torch.manual_seed(0)
    network = models.get_model(name, weights=None)
    assert sum(block_macs(cut_network(network, name, SHAPE), SHAPE)) == pytest.approx(published, rel=0.01)
