"""`continuation`: thinned copies of the blocks that follow in the network itself, with their weights.

For pretrained networks: what the later blocks have learned on many images is where an early exit begins, instead of
random weights. The later stages mostly refine what their first blocks compute, since all their other blocks have a
shortcut; so the first block of each is copied and the others are left out. Ours; the idea of leaving residual blocks
out is that of stochastic depth (Huang et al., arXiv 1603.09382).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from edgemate.errors import UsageError
from edgemate.models.backbone import Tap
from edgemate.models.chains import thinned_copy
from edgemate.models.heads.head import Head


def continuation(
    tap: Tap,
    classes: int,
    *,
    width: Annotated[float, Field(gt=0, le=1)] = 0.5,
    blocks: Annotated[int, Field(ge=1, le=256)] | None = None,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> Head:
    """Copies of the blocks that change the map's shape, which halve it as early as they can; then pool + linear.

    Where the network ends, nothing is left to copy, and pool + linear is the whole head.

    Args:
        tap: which feature map it reads; of a network that is cut by its graph.
        classes: C.
        width: fraction of the channels inside each block that is kept; those that contribute most.
        blocks: how many are copied; up to the one by which the network halves the map for the last time if absent.
        dropout: fraction of the pooled feature that training drops.

    Raises:
        UsageError: the map is still to be halved, and no block that does it is a plain chain of convolutions.
    """
    if tap.layout != "map" or (tap.reductions and not tap.later):
        raise UsageError(
            "head continuation copies later blocks that are chains of convolutions, such as inverted residuals, and "
            "finds none after this exit; use inverted_residual, or end the exits earlier"
        )
    channels, left = tap.channels, tap.reductions
    layers: list[nn.Module] = []
    halving = [i for i, chain in enumerate(tap.later, 1) if chain.stride > 1]
    for chain in tap.later[: blocks or max(halving, default=1)]:
        if chain.in_channels != channels:
            break
        layers.append(thinned_copy(chain, width, stride=2 if left else 1))
        channels, left = chain.out_channels, max(0, left - 1)
    return Head(tap, nn.Sequential(*layers), channels, classes, dropout)
