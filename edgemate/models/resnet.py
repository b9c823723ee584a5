"""ResNets of torchvision (He et al. 2016), cut after any residual block.

Cut points are the blocks, `layer1.0`, `layer1.1`, …; `layer1` names the last block of that layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torchvision
from torch import nn
from torchvision.models import (
    ResNet,
    ResNet18_Weights,
    ResNet34_Weights,
    ResNet50_Weights,
    ResNet101_Weights,
    ResNet152_Weights,
    WeightsEnum,
)

from edgemate.errors import UsageError
from edgemate.models.backbone import Backbone, Block, Tap

Stem = Literal["imagenet", "cifar"]


def resnet18(in_channels: int, *, stem: Stem = "imagenet", pretrained: bool = False) -> Backbone:
    """ResNet-18: basic blocks 2, 2, 2, 2."""
    return _cut(torchvision.models.resnet18, ResNet18_Weights.DEFAULT, in_channels, stem, pretrained)


def resnet34(in_channels: int, *, stem: Stem = "imagenet", pretrained: bool = False) -> Backbone:
    """ResNet-34: basic blocks 3, 4, 6, 3."""
    return _cut(torchvision.models.resnet34, ResNet34_Weights.DEFAULT, in_channels, stem, pretrained)


def resnet50(in_channels: int, *, stem: Stem = "imagenet", pretrained: bool = False) -> Backbone:
    """ResNet-50: bottleneck blocks 3, 4, 6, 3."""
    return _cut(torchvision.models.resnet50, ResNet50_Weights.DEFAULT, in_channels, stem, pretrained)


def resnet101(in_channels: int, *, stem: Stem = "imagenet", pretrained: bool = False) -> Backbone:
    """ResNet-101: bottleneck blocks 3, 4, 23, 3."""
    return _cut(torchvision.models.resnet101, ResNet101_Weights.DEFAULT, in_channels, stem, pretrained)


def resnet152(in_channels: int, *, stem: Stem = "imagenet", pretrained: bool = False) -> Backbone:
    """ResNet-152: bottleneck blocks 3, 8, 36, 3."""
    return _cut(torchvision.models.resnet152, ResNet152_Weights.DEFAULT, in_channels, stem, pretrained)


def _cut(
    build: Callable[..., ResNet], weights: WeightsEnum, in_channels: int, stem: Stem, pretrained: bool
) -> Backbone:
    """A torchvision ResNet as a backbone.

    `stem: cifar` puts a 3×3 convolution of stride 1 and no pooling in place of 7×7, stride 2 and pooling, as is usual
    at 32×32. Pretrained ImageNet weights fit only three channels; a CIFAR stem leaves its own convolution untrained.
    """
    if pretrained and in_channels != 3:
        raise UsageError(f"pretrained weights are for 3 channels, not {in_channels}; set pretrained: false")
    try:
        net = build(weights=weights if pretrained else None)
    except OSError as error:
        raise UsageError(f"pretrained weights was unavailable ({error}); set pretrained: false") from error
    if stem == "cifar":
        first: list[nn.Module] = [_kaiming(nn.Conv2d(in_channels, 64, 3, 1, 1, bias=False)), net.bn1, net.relu]
    else:
        if in_channels != 3:
            net.conv1 = _kaiming(nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False))
        first = [net.conv1, net.bn1, net.relu, net.maxpool]

    blocks: dict[str, nn.Module] = {}
    taps: dict[str, Tap] = {}
    aliases: dict[str, str] = {}
    final = net.fc.in_features
    for depth in range(1, 5):
        layer = getattr(net, f"layer{depth}")
        for i, block in enumerate(layer):
            module = nn.Sequential(*first, block) if depth == 1 and i == 0 else block
            name = f"layer{depth}.{i}"
            blocks[name] = Block(module)
            taps[name] = Tap(final >> (4 - depth), final, 4 - depth)
            aliases[f"layer{depth}"] = name
    return Backbone(blocks, taps, default_cuts=tuple(aliases), aliases=aliases)


def _kaiming(convolution: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution
