"""Places exits at near-equal steps of MACs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from edgemate.errors import UsageError
from edgemate.models.backbone import Backbone
from edgemate.models.cost import block_macs
from edgemate.wording import counted

USUAL_COUNT = 4


def place_exits(backbone: Backbone, image_shape: Sequence[int], count: int) -> list[str]:
    """Names of `count` cut points, in order, the backbone's end last.

    Exit k of K is at the cut whose MACs so far are nearest to k/K of all; of two as near, where fewer values cross.

    Args:
        backbone: whose blocks are counted.
        image_shape: (C, H, W).
        count: K.

    Raises:
        UsageError: there are fewer cut points than exits.
    """
    return place_by_macs(backbone, block_macs(backbone, image_shape), count)


def place_by_macs(backbone: Backbone, macs: Sequence[int], count: int) -> list[str]:
    """As `place_exits`, with the MACs that `block_macs` counts."""
    names = list(backbone.block_names)
    if count > len(names):
        raise UsageError(f"exits.count is {count}, but the backbone has {counted(len(names), 'cut point')}")
    so_far = list(itertools.accumulate(macs))
    total = so_far[-1]
    sizes = [math.prod(backbone.taps[name].shape or (0,)) for name in names]
    chosen: list[int] = []
    for k in range(1, count):
        first = chosen[-1] + 1 if chosen else 0
        last = len(names) - 1 - (count - k)  # so many cuts must remain for the exits that follow
        target = total * k / count
        chosen.append(min(range(first, last + 1), key=lambda i: (abs(so_far[i] - target), sizes[i])))
    return [names[i] for i in chosen] + [names[-1]]
