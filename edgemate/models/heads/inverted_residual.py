"""`inverted_residual`: MobileNetV2's blocks as a head, a small end of the network of its own.

For networks whose early maps say little when they are pooled, such as those of phones. The blocks are those of
Sandler et al., "MobileNetV2" (arXiv 1801.04381); growth, depth and widths here are our reconstruction.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual

from edgemate.models.backbone import Tap
from edgemate.models.heads.head import Head, conv_bn_relu

_MULTIPLE = 8


def inverted_residual(
    tap: Tap,
    classes: int,
    *,
    expansion: Annotated[int, Field(ge=1, le=16)] = 4,
    growth: Annotated[float, Field(ge=1, le=4)] = 1.5,
    depth: Annotated[int, Field(ge=0, le=256)] = 1,
    features: Annotated[int, Field(ge=0, le=8192)] = 384,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> Head:
    """Per halving that remains a strided block, then blocks with a shortcut, a 1×1 to `features`, pool + linear.

    Args:
        tap: which feature map it reads.
        classes: C.
        expansion: how many times as many channels a block has inside, where its depthwise 3×3 is.
        growth: factor of the channels at every strided block, rounded to a multiple of 8.
        depth: blocks with a shortcut on the smallest map.
        features: channels that are pooled; 0 pools those of the last block.
        dropout: fraction of the pooled feature that training drops.
    """
    layers: list[nn.Module] = []
    channels = tap.channels
    for _ in range(tap.reductions):
        wider = max(_MULTIPLE, int(channels * growth / _MULTIPLE + 0.5) * _MULTIPLE)
        layers.append(InvertedResidual(channels, wider, 2, expansion))
        channels = wider
    layers += [InvertedResidual(channels, channels, 1, expansion) for _ in range(depth)]
    if features:
        layers.append(conv_bn_relu(channels, features, 1))
        channels = features
    return Head(tap, nn.Sequential(*layers), channels, classes, dropout)
