"""`bottleneck`: BYOT's head (arXiv 1905.08094): squeeze by 1×1, shrink by strided convolutions, widen by 1×1.

The paper names the bottleneck and its purpose, to keep the shallow exits' features from disturbing each other; the
widths (final / `squeeze`) and one 3×3 convolution per remaining halving are our reconstruction.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from edgemate.models.backbone import Tap
from edgemate.models.heads.head import Head, conv_bn_relu


def bottleneck(
    tap: Tap,
    classes: int,
    *,
    squeeze: Annotated[int, Field(ge=1, le=64)] = 4,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> Head:
    """1×1 to final / squeeze channels, a strided 3×3 per halving that remains, 1×1 to the final width."""
    if tap.reductions == 0:
        return Head(tap, nn.Identity(), tap.channels, classes, dropout)
    inner = max(1, tap.final_channels // squeeze)
    trunk = nn.Sequential(
        conv_bn_relu(tap.channels, inner, 1),
        *(conv_bn_relu(inner, inner, 3, stride=2) for _ in range(tap.reductions)),
        conv_bn_relu(inner, tap.final_channels, 1),
    )
    return Head(tap, trunk, tap.final_channels, classes, dropout)
