"""`separable`: a stack of depthwise-separable convolutions, the light head for phones and small boards.

The kind of head that BYOT's authors use in their later code; widths and depth here are our reconstruction.
"""

from __future__ import annotations

import itertools
from typing import Annotated

from pydantic import Field
from torch import nn

from edgemate.models.backbone import Tap
from edgemate.models.heads.head import Head, conv_bn_relu, widths


def separable(
    tap: Tap,
    classes: int,
    *,
    width: Annotated[int, Field(ge=1, le=8192)] | None = None,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> Head:
    """Per halving that remains: depthwise strided 3×3, pointwise to the next width; then pool + linear.

    Args:
        tap: which feature map it reads.
        classes: C.
        width: channels that are pooled; if absent, as many as the network's last map has. Without a halving, the
            map's own.
        dropout: fraction of the pooled feature that training drops.
    """
    steps = [tap.channels, *widths(tap, width)]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(steps):
        layers += [conv_bn_relu(a, a, 3, stride=2, groups=a), conv_bn_relu(a, b, 1)]
    return Head(tap, nn.Sequential(*layers), steps[-1], classes, dropout)
