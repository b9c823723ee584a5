"""MobileNetV2 and V3 of torchvision (Sandler et al. 2018, Howard et al. 2019), cut after any of their blocks.

Cut points are torchvision's own, `features.1`, `features.2`, …; the exits are usually where the map is about to be
halved, and at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torchvision
from torch import nn
from torchvision.models import (
    MobileNet_V2_Weights,
    MobileNet_V3_Large_Weights,
    MobileNet_V3_Small_Weights,
    MobileNetV2,
    MobileNetV3,
    WeightsEnum,
)

from edgemate.errors import UsageError
from edgemate.models.backbone import Backbone, Block, Tap


def mobilenet_v2(
    in_channels: int, *, stem: Literal["imagenet", "cifar"] = "imagenet", pretrained: bool = False
) -> Backbone:
    """MobileNetV2: 17 inverted residual blocks and a last convolution to 1280 channels.

    `stem: cifar` leaves the first two halvings out, as is usual at 32×32, so that the last map is 4×4. The weights'
    shapes stay, so pretrained ones fit.
    """
    halvings_left_out = 2 if stem == "cifar" else 0
    build = torchvision.models.mobilenet_v2
    return _cut(build, MobileNet_V2_Weights.DEFAULT, in_channels, pretrained, halvings_left_out)


def mobilenet_v3_small(in_channels: int, *, pretrained: bool = False) -> Backbone:
    """MobileNetV3-Small: 11 inverted residual blocks and a last convolution to 576 channels."""
    return _cut(torchvision.models.mobilenet_v3_small, MobileNet_V3_Small_Weights.DEFAULT, in_channels, pretrained)


def mobilenet_v3_large(in_channels: int, *, pretrained: bool = False) -> Backbone:
    """MobileNetV3-Large: 15 inverted residual blocks and a last convolution to 960 channels."""
    return _cut(torchvision.models.mobilenet_v3_large, MobileNet_V3_Large_Weights.DEFAULT, in_channels, pretrained)


def _cut(
    build: Callable[..., MobileNetV2 | MobileNetV3],
    weights: WeightsEnum,
    in_channels: int,
    pretrained: bool,
    halvings_left_out: int = 0,
) -> Backbone:
    """A torchvision MobileNet as a backbone; its classifier is left out. Pretrained needs 3 channels."""
    if pretrained and in_channels != 3:
        raise UsageError(f"pretrained weights are for 3 channels, not {in_channels}; set pretrained: false")
    try:
        parts = list(build(weights=weights if pretrained else None).features)
    except OSError as error:
        raise UsageError(f"pretrained weights was unavailable ({error}); set pretrained: false") from error
    if in_channels != 3:
        parts[0][0] = nn.Conv2d(in_channels, parts[0][0].out_channels, 3, 2, 1, bias=False)
        nn.init.kaiming_normal_(parts[0][0].weight, mode="fan_out")

    strided = [m for part in parts for m in part.modules() if isinstance(m, nn.Conv2d) and m.stride[0] > 1]
    for convolution in strided[:halvings_left_out]:
        convolution.stride = (1, 1)
    halves = [any(m in strided[halvings_left_out:] for m in part.modules()) for part in parts]
    blocks: dict[str, nn.Module] = {}
    taps: dict[str, Tap] = {}
    usual = []
    # No exit can follow the stem alone; it belongs to the first block.
    for i in range(1, len(parts)):
        name = f"features.{i}"
        blocks[name] = Block(nn.Sequential(parts[0], parts[1]) if i == 1 else parts[i])
        taps[name] = Tap(parts[i].out_channels, parts[-1].out_channels, sum(halves[i + 1 :]))
        if i + 1 == len(parts) or halves[i + 1]:
            usual.append(name)
    return Backbone(blocks, taps, default_cuts=usual)
