"""`msdnet`: MSDNet's own classifier (arXiv 1703.09844), two strided 3×3 convolutions, then pool + linear.

The authors pool what is left, 2×2 at the usual image sizes; here it is the mean over a map of any size.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from edgemate.models.backbone import Tap
from edgemate.models.heads.head import Head, conv_bn_relu


def msdnet(
    tap: Tap,
    classes: int,
    *,
    width: Annotated[int, Field(ge=1, le=8192)] | Literal["own"] = 128,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> Head:
    """Two strided 3×3 convolutions to `width` channels, whatever the size of the map.

    Args:
        tap: which feature map it reads.
        classes: C.
        width: channels of both convolutions, 128 on CIFAR; `own`: those of the map, as on ImageNet.
        dropout: fraction of the pooled feature that training drops.
    """
    inner = tap.channels if width == "own" else width
    trunk = nn.Sequential(conv_bn_relu(tap.channels, inner, 3, stride=2), conv_bn_relu(inner, inner, 3, stride=2))
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return Head(tap, trunk, inner, classes, dropout)
